"""A new author's first plugins from wheels alone: the commands of docs/authors/first-plugin.md as they are.

Run by ``nox -s wheels`` in a clean environment and an empty folder, away from the sources, with the folder of
the wheels. Nothing that is made is edited. At the end there are checkpoints, and held-out samples find each
other far more often than chance would.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "documented"))

from commands import commands_in  # noqa: E402

PAGE = "docs/authors/first-plugin.md"
RUNS = {"thermal": 10, "recall": 5}
"""Run -> how many times as often as by chance the right one of all held-out samples must come first."""
MOST_CPU_S = 300
"""Of all commands for one plugin. Seconds of the processors, since others may be at work on them."""


def main() -> None:
    for plugin, times_chance in RUNS.items():
        before = cpu_s()
        commands = [
            each
            for each in commands_in(PAGE, (ROOT / PAGE).read_text())
            if each.in_block and plugin in each.text
        ]
        assert len(commands) >= 5, f"{PAGE} has {len(commands)} commands for {plugin}"
        for command in commands:
            run(command.text)
        is_trained(plugin, times_chance)
        spent = cpu_s() - before
        print(f"{plugin}: {len(commands)} commands, {spent:.0f} s of one core", flush=True)
        assert spent < MOST_CPU_S, f"{spent:.0f} s of one core; at most {MOST_CPU_S} s"


def run(command: str) -> None:
    """As typed in a shell where this environment is active."""
    begun = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PATH": path}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, f"`{command}` ended with {done.returncode}:\n{done.stdout}"
    said = "\n".join(done.stdout.splitlines()[-12:])
    print(f"$ {command}\n{said}\n({time.monotonic() - begun:.0f} s)\n", flush=True)


def is_trained(plugin: str, times_chance: float) -> None:
    """There is a checkpoint, and retrieval in both directions is far above chance."""
    folder = Path("runs") / plugin
    assert list(folder.glob("checkpoints/step-*/manifest.json")), f"no checkpoint in {folder}"
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    figures = {name: value for record in records for name, value in record.items() if "/R@1" in name}
    chances = {
        name: value for record in records for name, value in record.items() if name.endswith("/chance")
    }
    held_out = {name: value for name, value in figures.items() if name.startswith("eval/")}
    assert len(held_out) == 2, f"retrieval was not measured in both directions: {figures}"
    for name, value in held_out.items():
        chance = chances[name.replace("R@1", "chance")]
        print(f"{name} {value:.3f}, by chance {chance:.3f}")
        assert value >= times_chance * chance, f"{name} is {value}, less than {times_chance} x {chance}"


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
