"""What does the core itself bring? Its readers, presets and the TensorBoard sink, as a plugin."""

from __future__ import annotations

import importlib.util
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectranet.contracts import Preset, Reader
from spectranet.hookspecs import hookimpl

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

__all__ = ["Builtin", "core_presets"]

_SUMMARY = "# summary:"
_log = logging.getLogger("spectranet")


class Builtin:
    """The core's own plugin, always loaded. One instance a host: it owns the sink's open file."""

    def __init__(self) -> None:
        self._sink: TensorBoardSink | None = None

    @hookimpl
    def spectranet_readers(self) -> Iterable[Reader]:
        from spectranet.data.readers import readers

        return readers()

    @hookimpl
    def spectranet_presets(self) -> Iterable[Preset]:
        return core_presets()

    @hookimpl
    def spectranet_log(self, record: Mapping[str, Any], run_dir: str) -> None:
        if self._sink is None or self._sink.run_dir != run_dir:
            self._sink = TensorBoardSink(run_dir)
        self._sink.write(record)

    @hookimpl
    def spectranet_checkpoint_saved(self, path: str, step: int) -> None:
        """Say so in the log, and leave a point in TensorBoard: a resumed curve starts at one of them."""
        _log.info("checkpoint of step %d is complete: %s", step, path)
        if self._sink is not None:
            self._sink.write({"step": step, "checkpoint": 1})


class TensorBoardSink:
    """Forwards the numbers of ``metrics.jsonl`` to event files in ``run_dir/tensorboard``.

    Without the optional package (extra ``track``) it says so once in the log and does nothing.
    """

    def __init__(self, run_dir: str) -> None:
        self.run_dir = run_dir
        self._writer: EventFileWriter | None = None
        self._available = importlib.util.find_spec("tensorboard") is not None
        if not self._available:
            _log.info(
                "no TensorBoard files: python -m pip install 'spectranet-core[track]' (metrics.jsonl has all)"
            )

    def write(self, record: Mapping[str, Any]) -> None:
        """One scalar per finite number, named by its path (``loss/mmm.image``), at ``record["step"]``."""
        step = record.get("step")
        if not self._available or not isinstance(step, int):
            return
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        now = time.time()
        if self._writer is None:
            self._writer = EventFileWriter(str(Path(self.run_dir) / "tensorboard"))
            # A resumed run repeats the steps after its checkpoint: hide those of the killed one.
            start = SessionLog(status=SessionLog.START)
            self._writer.add_event(Event(wall_time=now, step=step, session_log=start))
        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in numbers(record) if name != "step"
        ]
        self._writer.add_event(Event(wall_time=now, step=step, summary=Summary(value=values)))
        # The trainer leaves through os._exit, which would lose what the writer's thread still holds.
        self._writer.flush()


def numbers(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of a nested record, each with its path; booleans and text are left out."""
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield f"{prefix}{name}", float(value)


def core_presets() -> list[Preset]:
    """The YAML files in ``spectranet/presets``; a first line ``# summary: …`` is the summary."""
    folder = files("spectranet") / "presets"
    if not folder.is_dir():
        return []
    presets = []
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            text = file.read_text(encoding="utf-8")
            first = text.partition("\n")[0]
            summary = first.removeprefix(_SUMMARY).strip() if first.startswith(_SUMMARY) else ""
            presets.append(Preset(file.name.removesuffix(".yaml"), summary, text))
    return presets
