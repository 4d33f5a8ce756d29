"""A plugin written for the contract of spectranet-core 0.1.0 runs with this one, as it is.

`tests/compatibility/plugin_0_1` is what an author had published by then: she is not there to mend it, so
nobody edits it here either. It uses every hook. The losses that it had with the core of 0.1.0 are in
`losses_0_1.json`; the core that draws its weights or its samples in another way has others, and says so.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from installed import Environment, build_wheel

COMPATIBILITY = Path(__file__).parent / "compatibility"
PLUGIN = COMPATIBILITY / "plugin_0_1"
SHA256 = "558973b39957ae9ec6459646d8f6ab981e625d03326c630df49dcc3cc54f1001"

CONFIG = """
extends: tides
objectives: {mmm: {}}
tasks: {nearest: {}}
modalities: {text: {width: 32, layers: 1, heads: 2, mlp_hidden: 32, max_tokens: 16}}
data: {sources: {gauges: {path: train.logbook, modalities: [tide, text], weight: 1}}}
eval: {sources: {held: {path: test.logbook, modalities: [tide, text]}}}
train: {steps: 4, checkpoint: {every: 2}}
"""


def test_the_plugin_is_what_it_was() -> None:
    files = sorted(path for path in PLUGIN.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.relative_to(PLUGIN).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")

    assert digest.hexdigest() == SHA256, (
        f"a file of {PLUGIN.name} was edited. It stands for plugins that are published, which nobody here can"
        " edit: mend the core, so that it runs as it was, and take the edit back.\n"
        "  why: docs/authors/compatibility.md"
    )


@pytest.fixture(scope="module")
def sea(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the plugin installed, samples that its own command wrote, and a run of 4 steps."""
    folder = tmp_path_factory.mktemp("sea")
    sources = PLUGIN / "src"
    files = {path.relative_to(sources).as_posix(): path.read_text() for path in sources.rglob("*.py")}
    points = "[spectranet.plugins.v1]\ntides = spectranet_tides.plugin\n"
    wheel = build_wheel(folder / "wheels", "spectranet-tides", "0.1.0", files, points)
    environment = Environment(folder / "installed")
    environment.install(wheel)
    for name, count, seed in (("train", 24, 0), ("test", 8, 1)):
        samples = ("tides", "samples", f"{name}.logbook", "--count", str(count), "--seed", str(seed))
        assert said(environment, *samples) == f"{count} samples in {name}.logbook\n"
    (environment.folder / "sea.yaml").write_text(CONFIG)
    train(environment)
    return environment


def said(environment: Environment, *arguments: str) -> str:
    done = environment.run(*arguments, timeout_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def train(environment: Environment, *overrides: str) -> None:
    said(environment, "train", "--plugins", "tides,text", "--config", "./sea.yaml", "run_dir=run", *overrides)


def losses(environment: Environment, steps: range) -> dict[str, dict[str, float]]:
    lines = (environment.folder / "run" / "metrics.jsonl").read_text().splitlines()
    records = [record for record in map(json.loads, lines) if "loss" in record and record["step"] in steps]
    return {
        str(record["step"]): {name: value for name, value in record.items() if name.startswith("loss")}
        for record in records
    }


@pytest.mark.slow
def test_it_trains_to_the_losses_that_it_had(sea: Environment) -> None:
    recorded = json.loads((COMPATIBILITY / "losses_0_1.json").read_text())

    found = losses(sea, range(1, 5))

    assert found.keys() == recorded.keys()
    for step, expected in recorded.items():
        assert found[step] == pytest.approx(expected, rel=1e-4), f"step {step}"


@pytest.mark.slow
def test_each_of_its_hooks_was_called(sea: Environment) -> None:
    run = sea.folder / "run"
    told = [json.loads(line)["step"] for line in (run / "tides.jsonl").read_text().splitlines()]
    saved = (run / "tides-saved.txt").read_text().splitlines()
    figures = {name for line in (run / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}

    assert told[:4] == [1, 2, 3, 4]
    assert saved[:2] == ["2 step-00000002", "4 step-00000004"]
    assert {"eval/held/tide-text/first", "eval/held/text-tide/first"} <= figures
    refused = sea.run("train", "--plugins", "tides,text", "--config", "./sea.yaml", "modalities.tide.most=3")
    assert refused.returncode == 2
    assert "modalities.tide.most=3 is less than a token of 6 readings." in refused.stderr


@pytest.mark.slow
def test_its_checkpoint_is_gone_on_from_and_measured(sea: Environment) -> None:
    before = losses(sea, range(1, 5))

    train(sea, "train.steps=6")

    after = losses(sea, range(1, 7))
    assert {step: after[step] for step in before} == before
    assert list(after) == ["1", "2", "3", "4", "5", "6"]
    assert "held/tide-text/first" in said(sea, "eval", "run")


@pytest.mark.slow
def test_its_samples_are_surveyed(sea: Environment) -> None:
    survey = said(
        sea, "data", "inspect", "--plugins", "tides,text", "--config", "./sea.yaml", "--out", "seen"
    )

    assert "tide: 17 of 24 (70.8 %) cut" in survey
