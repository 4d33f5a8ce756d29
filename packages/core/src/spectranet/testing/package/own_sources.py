"""Which source files belong to an installed plugin?"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from spectranet.plugins import PluginInfo

__all__ = ["is_test", "own_sources"]


def own_sources(info: PluginInfo) -> Iterator[tuple[str, Path]]:
    """``spectranet_lidar/plugin.py`` and where it lies, of each Python file of the plugin.

    The package that the entry point names, whole, and what else its distribution has installed. (Of an
    editable install metadata know no file, but the package is found where it is imported from.)
    """
    package = info.target.partition(":")[0].partition(".")[0]
    found: dict[Path, str] = {}
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).rglob("*.py")):
            found[path.resolve()] = f"{package}/{path.relative_to(folder).as_posix()}"
    if spec and spec.origin and not found:
        found[Path(spec.origin).resolve()] = Path(spec.origin).name
    distribution = info.entry_point.dist if info.entry_point else None
    for file in (distribution.files if distribution else None) or ():
        path = Path(str(file.locate())).resolve()
        if path.suffix == ".py" and path.is_file():
            found.setdefault(path, file.as_posix())
    yield from ((name, path) for path, name in found.items())


def is_test(name: str) -> bool:
    """Whether a file is one of the plugin's tests, which may use the kit."""
    *folders, file = name.split("/")
    return bool({"tests", "test"} & set(folders)) or file.startswith(("test_", "conftest"))
