"""A third party's plugin trains beside ours, from wheels alone: ``inertial.py WHEELS``.

Run by ``nox -s wheels`` in an empty folder. ``examples/spectranet-inertial`` is built as its author would
build it and installed where there are core, text and objectives; its own tests pass; the commands of its
README make samples and train on one rank, then torchrun does so on two, and both find the captions of
strangers' movements.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[2] / "examples" / "spectranet-inertial"
BESIDE = ("spectranet", "spectranet_text", "spectranet_objectives")
ABSENT = ("spectranet_vision", "spectranet_audio")
STEPS = 120
"""Of the 300 in the example's train.yaml: enough to be far above chance."""
TIMES_CHANCE = 3
SAME_LOSS = 0.02
"""Relative, after all steps: what rounding grows to where a global batch is cut in two."""


def main(wheels: str) -> None:
    install(wheels)
    for package in (*BESIDE, "spectranet_inertial"):
        found = importlib.util.find_spec(package)
        assert found and "site-packages" in Path(str(found.origin)).parts, f"{package}: {found}"
    assert [package for package in ABSENT if importlib.util.find_spec(package)] == []
    listed = run("spectranet", "plugins", "--check")
    assert "spectranet-inertial" in listed and "broken" not in listed, listed

    installed, tested, *others, trained, reported = documented_commands()
    assert installed[:4] == ["python", "-m", "pip", "install"], "the wheel stands for this one"
    shutil.copytree(EXAMPLE, EXAMPLE.name, ignore=shutil.ignore_patterns("src"))
    for command in (tested, *others):
        print(run(*command).splitlines()[-1])
    trained += [f"train.steps={STEPS}"]
    run(*trained)
    run(*reported)
    run("torchrun", "--standalone", "--nproc-per-node=2", "-m", *trained, "run_dir=runs/two")
    one, two = (learned(Path("runs", run_dir)) for run_dir in ("inertial", "two"))
    apart = abs(one["loss"] - two["loss"]) / one["loss"]
    assert apart < SAME_LOSS, f"the loss after {STEPS} steps: {one['loss']} on one rank, {two['loss']} on two"
    print(f"the loss after {STEPS} steps: {one['loss']:.4f} on one rank, {two['loss']:.4f} on two")


def install(wheels: str) -> None:
    """The example's wheel, and of ours only those that it is to be trained beside."""
    pip = ("python", "-m", "pip")
    run(*pip, "uninstall", "--yes", *(name.replace("_", "-") for name in ABSENT))
    run(*pip, "wheel", "--no-deps", "--wheel-dir", "built", str(EXAMPLE))
    (wheel,) = Path("built").glob("spectranet_inertial-*.whl")
    run(*pip, "install", "--force-reinstall", "--no-deps", str(wheel))
    run(*pip, "install", "--find-links", wheels, f"{wheel}[test]")


def documented_commands() -> list[list[str]]:
    """The words of each command that the example's README.md tells to try."""
    (block,) = re.findall(r"## Try it\n+```console\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    return [shlex.split(line) for line in block.splitlines()]


def learned(run_dir: Path) -> Mapping[str, Any]:
    """The last record of training, once losses, checkpoint and retrieval of strangers are found good."""
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    first, last, evaluated = steps[0], steps[-1], records[-1]
    assert last["step"] == STEPS
    for term in ("temporal.inertial", "contrastive.inertial-text", "mmm.inertial", "mmm.text"):
        before, after = first[f"loss/{term}"], last[f"loss/{term}"]
        assert after < before, f"{run_dir}: {term} went from {before} to {after}"
    for direction in ("inertial-text", "text-inertial"):
        of = f"eval/strangers/{direction}"
        found, chance = evaluated[f"{of}/R@5"], evaluated[f"{of}/chance@5"]
        print(f"{run_dir}: {direction} R@5 {found:.3f}, chance {chance:.3f}")
        assert found > TIMES_CHANCE * chance, f"{run_dir}: {direction} finds {found} of {chance} by chance"
    assert list(run_dir.glob(f"checkpoints/*{STEPS}/manifest.json")), sorted(run_dir.rglob("*"))
    return last


def run(program: str, *words: str) -> str:
    """What a program of this environment prints; it must end well."""
    command = [str(Path(sys.executable).with_name(program)), *words]
    # the sources lie where nothing looks: neither the folder of this script nor an inherited path
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"{' '.join(command)} ended with {done.returncode}\n{done.stdout[-6000:]}{done.stderr[-6000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
