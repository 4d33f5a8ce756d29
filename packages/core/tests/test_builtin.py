"""The core's own plugin: presets, and the TensorBoard sink."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from spectranet.builtin import Builtin, core_presets, numbers


def test_core_presets_have_a_summary() -> None:
    presets = core_presets()

    assert {preset.name for preset in presets} >= {"tiny", "base", "spectranet-l", "foundation-256"}
    assert all(preset.summary for preset in presets)


def test_numbers_of_a_record() -> None:
    record = {"step": 3, "loss": {"mmm": 0.5, "bad": float("nan")}, "source": "x", "resumed": True}

    assert dict(numbers(record)) == {"step": 3.0, "loss/mmm": 0.5}


def test_tensorboard_files_hold_the_records(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    sink = Builtin()
    for step in (1, 2):
        sink.spectranet_log({"step": step, "loss": step / 2, "source": "x"}, str(tmp_path))

    reader = events.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert reader.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in reader.Scalars("loss")] == [(1, 0.5), (2, 1.0)]


def test_checkpoints_are_points_in_tensorboard_and_lines_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    sink = Builtin()
    sink.spectranet_log({"step": 1, "loss": 1.0}, str(tmp_path))
    with caplog.at_level(logging.INFO, "spectranet"):
        sink.spectranet_checkpoint_saved(path="checkpoints/step-2", step=2)

    reader = events.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert [event.step for event in reader.Scalars("checkpoint")] == [2]
    assert caplog.messages == ["checkpoint of step 2 is complete: checkpoints/step-2"]


def test_tensorboard_hides_the_steps_that_a_resumed_run_repeats(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for steps in ((1, 2, 3), (2, 3)):
        sink = Builtin()
        for step in steps:
            sink.spectranet_log({"step": step, "loss": float(10 * len(steps) + step)}, str(tmp_path))
        # Files are named by the second.
        (file,) = (tmp_path / "tensorboard").glob("*.tfevents.*.[0-9]")
        file.rename(file.with_name(f"events.out.tfevents.{2000 - len(steps)}"))

    reader = events.EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert [(event.step, event.value) for event in reader.Scalars("loss")] == [
        (1, 31.0),
        (2, 22.0),
        (3, 23.0),
    ]


def test_without_tensorboard_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    sink = Builtin()
    with caplog.at_level(logging.INFO, "spectranet"):
        for step in (1, 2):
            sink.spectranet_log({"step": step, "loss": 1.0}, str(tmp_path))

    assert len(caplog.records) == 1 and "spectranet-core[track]" in caplog.text
    assert list(tmp_path.iterdir()) == []
