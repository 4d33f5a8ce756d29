"""How are dozens of commands run without importing torch for each?

    python warm.py FOLDER

A server that has imported everything once and forks for each command. What stands for ``spectranet`` on
the PATH hands it the words, the folder, the environment, and its own input and output (``client.py``); the
command runs as it always does, from ``spectranet.cli.main`` on, in a process of its own, and the client ends
with its code.

Presets are miniatures of themselves here: the same keys, with small numbers.
"""

from __future__ import annotations

import array
import dataclasses
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

if TYPE_CHECKING:
    from spectranet import Preset

IMPORTED = (
    "spectranet.train.run",
    "spectranet.testing",
    "spectranet.train.set_up",
    "torch.distributed.run",
    "transformers",
)
_TOWER = {"width": 32, "layers": 1, "heads": 2, "mlp_hidden": 32}
_MINIATURE: Mapping[str, Any] = {
    "trunks": {"vit": {"image_size": 32, "patch_size": 8, **_TOWER}},
    "modalities": {
        "image": {"size": 32, "patch_size": 8},
        "video": {"size": 16, "patch_size": 8, "frames": 4, "tubelet": 2},
        "audio": {
            "max_seconds": 0.5,
            "conv_dim": [8, 8, 8, 8, 8, 8, 8],
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
            **_TOWER,
        },
        "text": {"max_tokens": 24, **_TOWER},
    },
    "model": {"decoder": _TOWER},
    "data": {"workers": 0},
    "train": {"global_batch": 16, "slots": 4, "micro_batch": None, "threads": 1, "log_every": 1},
}
_FOR_64_RANKS = {"train": {"global_batch": 128, "slots": 2}}


def warm_up() -> None:
    """Make the presets small, and then import whatever a command may need."""
    import spectranet.builtin

    full_size = spectranet.builtin.core_presets
    spectranet.builtin.core_presets = lambda: [dataclasses.replace(p, yaml=miniature(p)) for p in full_size()]
    for name in IMPORTED:
        importlib.import_module(name)
    from spectranet.plugins import FIRST_PARTY, PluginHost

    for modality in PluginHost.load(FIRST_PARTY).modalities.values():
        for part in (modality.build_encoder, modality.build_target_head, modality.collate, modality.decode):
            if isinstance(part, spectranet.lazy):
                part.resolve()


def miniature(preset: Preset) -> str:
    small = merged(yaml.safe_load(preset.yaml), _MINIATURE)
    return yaml.safe_dump(merged(small, _FOR_64_RANKS) if preset.name == "spectranet-l" else small)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        is_section = isinstance(value, Mapping) and isinstance(both.get(key), Mapping)
        both[key] = merged(both[key], value) if is_section else value
    return both


def serve(folder: Path) -> None:
    """Fork for every connection to ``folder/socket``, until killed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / "socket"))
    listener.listen(64)
    (folder / "ready").touch()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            attend(connection, folder)
        connection.close()
        while True:  # gather the attendants that are done
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    break
            except ChildProcessError:
                break


def attend(connection: socket.socket, folder: Path) -> NoReturn:
    """Run one request in a process of its own; say its number, then what ``waitpid`` said of it."""
    request, files = receive(connection)
    process = os.fork()
    if process == 0:
        connection.close()
        for target, file in enumerate(files):
            os.dup2(file, target)
        if request["words"][:1] == ["train"]:
            with (folder / "training").open("a") as training:
                training.write(f"{os.getpid()}\n")
        run(request)
    connection.sendall(f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The request, one line of JSON, and the client's three standard files."""
    numbers = array.array("i")
    text, extras, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(3 * numbers.itemsize))
    numbers.frombytes(extras[0][2][: 3 * numbers.itemsize])
    while not text.endswith(b"\n"):
        text += connection.recv(1 << 20)
    return json.loads(text), list(numbers)


def run(request: Mapping[str, Any]) -> NoReturn:
    """Become the command: its words, folder and environment; end with its code."""
    code = 1
    try:
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(":"))
        sys.argv = [request["program"], *request["words"]]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["program"] == "spectranet":
            from spectranet.cli import main

            main()
        elif request["program"] == "torchrun":
            from torch.distributed.run import main as torchrun

            torchrun()
        elif request["program"] == "pytest":
            import pytest

            sys.exit(pytest.main([*request["words"], "-p", "no:cacheprovider"]))
        elif request["program"] == "spectranet.testing":
            runpy.run_module("spectranet.testing", run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(request["program"], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    warm_up()
    gc.freeze()  # what is never collected is never copied in a fork
    serve(Path(sys.argv[1]))
