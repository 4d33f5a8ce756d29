"""How is the warm server asked to run a program?

Imports next to nothing, since it starts for every command and every rank.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket

__all__ = ["ask"]


def ask(program: str, words: list[str]) -> int:
    """Run ``program`` (spectranet, pytest, a script's path …) in a fork of the server; its exit code.

    Signals that come here go on to it. What a signal ended ends here by the same.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(os.environ["WARM_SERVER"])
    request = {"program": program, "words": words, "folder": os.getcwd(), "environment": dict(os.environ)}
    files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]).tobytes())]
    text = json.dumps(request).encode() + b"\n"
    text = text[connection.sendmsg([text], files) :]
    connection.sendall(text)
    answers = connection.makefile()
    process = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda number, _: os.kill(process, number))
    code = int(answers.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
