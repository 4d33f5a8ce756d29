"""What does importing a plugin's module do to a process? Seen in a fresh one, once per module."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

__all__ = ["IMPORT_LIMIT_S", "ImportFacts", "import_facts"]

IMPORT_LIMIT_S = 1.0
_ATTEMPTS = 3
_HANGS_S = 120.0
_PROGRAM = Path(__file__).with_name("watched_import.py")


@dataclass(frozen=True)
class ImportFacts:
    """What :mod:`spectranet.testing.package.watched_import` has seen.

    Attributes:
        cpu_s: CPU time of the import, over that of the core.
        slept_s: time asleep meanwhile.
        heavy: deep-learning and data frameworks that it loads -> the plugin's line that asks for it.
        network: what it asks of the network, with the line.
        effects: what else it changes outside of itself, with the line where known.
        error: what the import raised, in one line.
    """

    cpu_s: float
    slept_s: float
    heavy: dict[str, str]
    network: list[str]
    effects: list[str]
    error: str


@cache
def import_facts(module: str) -> ImportFacts:
    """Import ``module`` in a fresh process; again if it took long, since the first may have had to compile.

    Not where it loads a framework, which takes long every time.

    The CPU time is the least of up to three. It depends little on what else the machine does.
    """
    facts = _import_once(module)
    for _ in range(_ATTEMPTS - 1):
        if facts.cpu_s < IMPORT_LIMIT_S or facts.error or facts.heavy:
            break
        facts = replace(facts, cpu_s=min(facts.cpu_s, _import_once(module).cpu_s))
    return facts


def _import_once(module: str) -> ImportFacts:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "facts.json")
        command = [sys.executable, "-P", str(_PROGRAM), module, str(report)]
        try:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_HANGS_S
            )
        except subprocess.TimeoutExpired:
            return ImportFacts(0.0, _HANGS_S, {}, [], [], f"no end of the import after {_HANGS_S:.0f} s")
        if not report.exists():
            last = ended.stderr.strip().splitlines()[-1:]
            error = f"the importing process ended with code {ended.returncode}: {''.join(last) or 'no word'}"
            return ImportFacts(0.0, 0.0, {}, [], [], error)
        facts = ImportFacts(**json.loads(report.read_text(encoding="utf-8")))
    if ended.stdout:
        facts.effects.append(f"prints {ended.stdout.strip()!r:.60}")
    return facts
