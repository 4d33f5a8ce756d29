"""Which rank tells a mistake: one of a node where all make it, and never none."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from spectranet.cli import main
from spectranet.cli.root import root
from spectranet.errors import DataError

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "TORCHELASTIC_RUN_ID")
MISTAKES = [("train", "--plugins", "visoin"), ("train", "--no-such-option"), ("trian",)]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No rank to begin with; the handlers of signals that a command sets are taken back."""
    for name in RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """Exit code and stderr of a command that is run in this process."""
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize("arguments", MISTAKES)
@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, False),
        ({"RANK": "1"}, False),
        ({"RANK": "8", "LOCAL_RANK": "0"}, True),
    ],
)
def test_one_rank_of_a_node_tells_a_mistake_that_all_make(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    is_told: bool,
    arguments: tuple[str, ...],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    code, told = ended(capsys, *arguments)

    assert code == 2 and told.startswith("error: ") == is_told and bool(told) == is_told


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_silent_rank_speaks_where_torchrun_does_not_end_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """The mistake is its own then: the rank that speaks for the node would have ended, and it with that."""
    for name in RANK_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr("spectranet.cli.root._SPEAKER_S", 0.1)

    code, told = ended(capsys, *arguments)

    assert code == 2 and told.startswith("error: ")


def test_what_only_one_rank_may_know_is_told_by_every_rank(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise DataError("a shard of this rank is gone")

    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(root, "main", fail)

    assert ended(capsys, "train") == (2, "error: a shard of this rank is gone\n")
