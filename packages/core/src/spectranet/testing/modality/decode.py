"""What the contract asks of ``decode`` where bytes are damaged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from spectranet.contracts import Values
from spectranet.errors import DecodeError
from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase
from spectranet.testing.modality.values import flaws

__all__ = ["DecodeClauses"]

_HEADER = 64
"""Bytes at the start in which a bit is turned over."""


class DecodeClauses(ModalityCase):
    """Whatever a file holds, a sample comes out or a ``DecodeError``."""

    decode_within_s: ClassVar[float] = 60.0
    """Seconds that all of the damaged examples together may take."""

    @clause
    def test_corrupt_bytes_are_refused(self) -> None:
        """``decode`` raises ``DecodeError`` where bytes cannot be decoded, and so may a transform that finds
        the damage later; nothing else is raised, nothing hangs, and what does come out is well formed.

        Given are no bytes at all, which must be refused; random bytes; an example cut short at nine places;
        and an example with one bit of its first 64 bytes turned over, for each of these bytes. Of a format
        that cannot tell, such as plain text, a part may be a sample. Turn errors of libraries into
        ``DecodeError``, check sizes before memory is taken for them, and numbers for being finite.
        """
        progress = _Progress()
        transform = self.modality().build_transform(self.config(), True)
        work = (progress, self.examples()[0], transform)
        thread = threading.Thread(target=self._decode_all, args=work, daemon=True)
        thread.start()
        thread.join(self.decode_within_s)
        require(not thread.is_alive(), f"{progress.doing} is not done after {self.decode_within_s:g} s")
        require(not progress.found, progress.found)

    def _decode_all(self, progress: _Progress, example: bytes, transform: Callable[..., Values]) -> None:
        for what, content in _damaged(example):
            progress.doing = what
            progress.found = self._trouble(what, content, transform)
            if progress.found:
                return

    def _trouble(self, what: str, content: bytes, transform: Callable[..., Values]) -> str:
        """What damaged bytes lead to that they must not, empty if nothing."""
        modality = self.modality()
        try:
            values = transform(modality.decode(content), np.random.default_rng(0))
        except DecodeError:
            return ""
        except BaseException as error:
            return f"{what} raised {type(error).__name__}: {error}"
        if not content:
            return f"{what} were decoded"
        wrong = list(flaws(values, modality.temporal))
        return f"{what} were decoded, and {'; '.join(wrong)}" if wrong else ""


class _Progress:
    """What the thread tells of its work."""

    doing = "nothing"
    found = ""


def _damaged(example: bytes) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    yield "no bytes", b""
    for count in (1, 16, 1000):
        yield f"{count} random bytes", rng.bytes(count)
    size = len(example)
    cuts = {1, 4, 8, size // 8, size // 4, size // 2, 3 * size // 4, size - 2, size - 1}
    for cut in sorted(cut for cut in cuts if 0 < cut < size):
        yield f"the first {cut} of {size} bytes", example[:cut]
    for place in range(min(_HEADER, size)):
        bit = int(rng.integers(8))
        turned = bytes([example[place] ^ 1 << bit])
        yield (
            f"an example with bit {bit} of byte {place} turned",
            example[:place] + turned + example[place + 1 :],
        )
