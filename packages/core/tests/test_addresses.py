"""An address is imported at its first call; one where nothing stands is told with what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from throwaway import Shelf, shelf_in

from spectranet import lazy
from spectranet.errors import PluginError


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with shelf_in(tmp_path, monkeypatch) as made:
        made.put("lidar", "def decode(data):\n    return data\n", module="spectranet_lidar.points")
        yield made


def refusal(address: str) -> str:
    with pytest.raises(PluginError) as caught:
        lazy(address)()
    return str(caught.value)


@pytest.mark.usefixtures("shelf")
def test_what_stands_there_is_called() -> None:
    assert lazy("spectranet_lidar.points:decode")(b"x") == b"x"


@pytest.mark.usefixtures("shelf")
def test_a_module_that_was_renamed_is_answered_with_those_there_are() -> None:
    assert refusal("spectranet_lidar.signal:decode") == (
        "a declaration of spectranet_lidar names lazy('spectranet_lidar.signal:decode'), "
        "but there is no module 'spectranet_lidar.signal'.\n"
        "  modules in spectranet_lidar: points\n"
        "  write there the address of what you mean: package.module:name"
    )


@pytest.mark.usefixtures("shelf")
def test_a_misspelt_name_is_answered_with_the_near_one() -> None:
    assert "but spectranet_lidar.points has no 'decod'. Did you mean 'decode'?" in refusal(
        "spectranet_lidar.points:decod"
    )


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    "address", ["spectranet_lidar.points.decode", "spectranet_lidar.points", "nowhere:x"]
)
def test_what_is_no_address_is_told_how_one_is_written(address: str) -> None:
    assert refusal(address).endswith("package.module:name")


def test_a_library_that_the_module_lacks_is_not_taken_for_the_module(shelf: Shelf) -> None:
    shelf.put("radar", "import no_such_library\n")

    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        lazy("spectranet_radar.plugin:decode")()
