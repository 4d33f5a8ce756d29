"""``python -m spectranet.cli.probe_commands COMMAND FILE PLUGIN…``: which of the plugins has a command?

A line of JSON for each plugin that was asked, ``[name, whether it has it, what is wrong with it]``, written
before the next is imported: whoever reads knows which one ended the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from spectranet.cli.plugin_commands import commands_of
from spectranet.errors import PluginError
from spectranet.plugins import discover

__all__ = ["main"]


def main(command: str, answer: Path, plugins: Sequence[str]) -> None:
    infos = discover()
    with answer.open("w", encoding="utf-8", buffering=1) as lines:
        for plugin in plugins:
            has_it, problem = False, ""
            try:
                has_it = any(each.name == command for each in commands_of(plugin, infos))
            except PluginError as error:
                problem = str(error)
            lines.write(json.dumps([plugin, has_it, problem]) + "\n")
            if has_it:
                break


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
