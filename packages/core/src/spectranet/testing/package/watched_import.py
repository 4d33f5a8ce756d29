"""What happens while a plugin's module is imported? A program for a fresh process.

    python -P watched_import.py spectranet_lidar.plugin report.json

It writes :class:`spectranet.testing.package.fresh_import.ImportFacts` as JSON, and imports nothing of the
kit. The core's plugin host and numpy are there before it looks, so what those do is nobody's fault.
"""

from __future__ import annotations

import importlib
import json
import locale
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import spectranet.plugins  # noqa: F401 - its import is not the plugin's

HEAVY = (
    *("torch", "torchaudio", "torchcodec", "torchvision", "functorch", "triton"),
    *("transformers", "timm", "lightning", "accelerate", "datasets", "diffusers"),
    *("tensorflow", "keras", "jax", "jaxlib", "flax", "cupy", "numba"),
    *("sklearn", "pandas", "matplotlib"),
)

_NETWORK = {
    "socket.__new__": "opens a socket",
    "socket.connect": "connects to",
    "socket.bind": "listens on",
    "socket.sendto": "sends to",
    "socket.getaddrinfo": "looks up",
    "socket.gethostbyname": "looks up",
    "urllib.Request": "requests",
}
_CLOSED = frozenset(_NETWORK) - {"socket.__new__"}
"""These are refused, so that nothing leaves the machine and nobody waits for an answer."""

_EFFECTS = {
    "os.mkdir": "makes the folder",
    "os.remove": "deletes",
    "os.rmdir": "deletes the folder",
    "os.rename": "renames",
    "os.link": "links",
    "os.symlink": "links",
    "os.truncate": "truncates",
    "os.chmod": "changes the mode of",
    "os.utime": "changes the times of",
    "os.chdir": "changes the working directory to",
    "os.putenv": "sets the environment variable",
    "os.unsetenv": "removes the environment variable",
    "subprocess.Popen": "starts the process",
    "os.system": "starts the process",
    "os.posix_spawn": "starts the process",
    "os.fork": "forks this process",
    "os.exec": "replaces this process by",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """An audit hook (PEP 578) that notes what is done between ``start`` and ``stop``, and where."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.watching = False
        self.network: list[str] = []
        self.effects: list[str] = []
        self.importers: dict[str, str] = {}
        self.slept_s = 0.0
        sys.addaudithook(self)
        self._see_threads_and_sleep()

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        self.watching = False
        try:
            self._note(event, args, sys._getframe(1))
        finally:
            self.watching = True

    def _note(self, event: str, args: tuple[Any, ...], frame: FrameType) -> None:
        if event == "import":
            name = args[0].partition(".")[0]
            if name in HEAVY:
                self.importers.setdefault(name, self._place(frame))
        elif event in _NETWORK:
            self.network.append(self._fact(_NETWORK[event], event, args, frame))
            if event in _CLOSED:
                raise OSError("the network is closed while a plugin is imported")
        elif frame.f_globals.get("__name__") == "importlib._bootstrap_external":
            return  # Python keeps its byte code
        elif event == "open":
            path, mode, flags = args
            writes = set(mode) & set("wax+") if mode else (flags or 0) & _WRITING
            if writes and not isinstance(path, int) and os.fspath(path) != os.devnull:
                self.effects.append(f"writes {path!r}{self._at(frame)}")
        elif event in _EFFECTS:
            self.effects.append(self._fact(_EFFECTS[event], event, args, frame))

    def _see_threads_and_sleep(self) -> None:
        """Python 3.11 tells audit hooks of neither."""
        start, sleep = threading.Thread.start, time.sleep

        def start_told(thread: threading.Thread) -> None:
            if self.watching:
                self.effects.append(f"starts a thread{self._at(sys._getframe(1))}")
            start(thread)

        def sleep_told(seconds: float) -> None:
            if self.watching:
                self.slept_s += seconds
            sleep(seconds)

        threading.Thread.start = start_told  # type: ignore[method-assign]
        time.sleep = sleep_told

    def _fact(self, does: str, event: str, args: tuple[Any, ...], frame: FrameType) -> str:
        names = [arg for arg in args if isinstance(arg, str | bytes | tuple | list)]
        if event in ("socket.__new__", "os.fork") or not names:
            return does + self._at(frame)
        what = names[0].decode(errors="replace") if isinstance(names[0], bytes) else names[0]
        return f"{does} {what!r:.120}{self._at(frame)}"

    def _at(self, frame: FrameType) -> str:
        place = self._place(frame)
        return f" at {place}" if place else ""

    def _place(self, frame: FrameType | None) -> str:
        """``spectranet_lidar/plugin.py:3``: the innermost line of the plugin; empty where none is near."""
        while frame is not None:
            if str(frame.f_globals.get("__name__", "")).partition(".")[0] == self.package:
                parts = Path(frame.f_code.co_filename).parts
                start = parts.index(self.package) if self.package in parts else -1
                return f"{'/'.join(parts[start:])}:{frame.f_lineno}"
            frame = frame.f_back
        return ""


def state_of_process() -> dict[str, Any]:
    """What an import could change without a trace in the audit: comparable values by name."""
    root = logging.getLogger()
    return {
        "sys.path": list(sys.path),
        "sys.meta_path": [repr(finder) for finder in sys.meta_path],
        "sys.excepthook": repr(sys.excepthook),
        "the recursion limit": sys.getrecursionlimit(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "the warning filters": [repr(filter) for filter in warnings.filters],
        "the root logger": [logging.getLevelName(root.level), *map(repr, root.handlers)],
        "the signal handlers": {str(s): repr(signal.getsignal(s)) for s in signal.valid_signals()},
        "the global state of random": random.getstate(),
        "the global state of numpy.random": repr(np.random.get_state()),
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each value that differs, with what came or went where that can be read."""
    lines = []
    for name, old in before.items():
        new = after[name]
        if new == old:
            continue
        if isinstance(old, dict):
            old, new = ([f"{k}: {v}" for k, v in each.items()] for each in (old, new))
        if isinstance(old, list):
            came = [each for each in new if each not in old]
            gone = [each for each in old if each not in new]
            what = "; ".join([f"{each:.80} came" for each in came] + [f"{each:.80} went" for each in gone])
            lines.append(f"changes {name}: {what or 'other order'}")
        else:
            lines.append(f"changes {name}")
    return lines


def watched_import(module: str) -> dict[str, Any]:
    """The facts of importing ``module``, as JSON holds them."""
    watch = Watch(module.partition(".")[0])
    already, before = set(sys.modules), state_of_process()
    error = ""
    began_s = time.process_time()
    watch.watching = True
    try:
        importlib.import_module(module)
    except BaseException as raised:
        error = traceback.format_exception_only(raised)[-1].strip()
    watch.watching = False
    cpu_s = time.process_time() - began_s
    loaded = {name.partition(".")[0] for name in set(sys.modules) - already}
    return {
        "cpu_s": cpu_s,
        "slept_s": watch.slept_s,
        "heavy": {name: watch.importers.get(name, "") for name in HEAVY if name in loaded},
        "network": watch.network,
        "effects": watch.effects + changes(before, state_of_process()),
        "error": error,
    }


if __name__ == "__main__":
    facts = watched_import(sys.argv[1])
    Path(sys.argv[2]).write_text(json.dumps(facts), encoding="utf-8")
