"""A throw-away plugin with something of every kind, and a configuration made for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from throwaway import DECLARATIONS, Shelf, shelf_in

from spectranet.config import Resolved, load_config

__all__ = ["lidar_shelf", "load", "write"]

PLUGIN = (
    DECLARATIONS
    + """
TRUNK = Trunk("shared", Options, nothing)

@dataclass
class Picky:
    weight: float = option(1.0, "weight")
    even: int = option(2, "an even number")

    def __post_init__(self):
        if self.even % 2:
            raise ValueError(f"{self.even} is odd")

@hookimpl
def spectranet_modalities():
    return [modality("points", TRUNK), modality("echo")]

@hookimpl
def spectranet_objectives():
    return [objective("match"), objective("picky", Picky)]

@hookimpl
def spectranet_tasks():
    return [task("measure")]

@hookimpl
def spectranet_presets():
    return [Preset("lidar-small", "a small one", "{train: {steps: 7}, model: {decoder: {width: 64}}}")]

@hookimpl
def spectranet_check_config(config):
    if config.modalities["points"].size > 100:
        yield "points.size is too large for any sensor."
"""
)


@contextmanager
def lidar_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """A shelf with the plugin ``lidar``; the working directory is ``tmp_path``."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    with shelf_in(folder, monkeypatch) as made:
        made.put("lidar", PLUGIN)
        yield made


def load(*overrides: str, configs: tuple[str, ...] = ()) -> Resolved:
    return load_config(configs, overrides, ["lidar"])


def write(name: str, text: str) -> str:
    """A file in the working directory, as --config takes it."""
    Path(name).write_text(text)
    return f"./{name}"
