"""``python -m spectranet.cli.probe NAME FILE``: load one plugin and write what it brings as JSON."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from spectranet.errors import PluginError
from spectranet.plugins import PluginHost

__all__ = ["main"]


def main(name: str, answer: Path) -> None:
    try:
        host = PluginHost.load([name])
        record: dict[str, Any] = next(r for r in host.describe() if r["name"] == name)
        record["commands"] = sorted(str(command.name) for command in host.commands())
    except PluginError as error:
        record = {"error": str(error)}
        if os.environ.get("SPECTRANET_DEBUG") == "1":
            record["error"] += f"\n{traceback.format_exc()}"
    answer.write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
