"""Where may ranks meet that a test starts by itself?"""

from __future__ import annotations

import random
import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A port that nobody listens on, nor soon will: the system gives none from this range by itself.

    A port that it has given once, to bind and to close, it may give again before the first rank listens.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("none of 100 ports is free")
