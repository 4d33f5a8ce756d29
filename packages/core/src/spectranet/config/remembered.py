"""Which plugins was the run in a directory trained with?

Asked only where a plugin is missing, to say how to get it back: nothing is verified, and what cannot be read
is as if it were not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from spectranet.plugin_discovery import Remembered

__all__ = ["plugins_of_run"]


def plugins_of_run(run_dir: str) -> Mapping[str, Remembered]:
    """Plugin -> what the newest checkpoint of the run says of it; empty where there is none."""
    for manifest in sorted(Path(run_dir).expanduser().glob("checkpoints/step-*/manifest.json"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(manifest.read_text(encoding="utf-8"))["plugins"]
            by = str(manifest.parent)
            return {each["name"]: Remembered(each["distribution"], each["version"], by) for each in told}
    return {}
