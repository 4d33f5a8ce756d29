"""Where do the indexes of a folder's shards lie? Beside them, or below the cache where that cannot be."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from spectranet.data.stores.lock import Busy, locked
from spectranet.data.stores.store import is_url, write_atomically
from spectranet.errors import DataError

__all__ = ["SUFFIX", "Place"]

SUFFIX = ".index"

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 600.0
"""For another process that indexes the same shard; after that it is done twice, which harms nothing."""


class Place:
    """The index files of one folder, local or remote.

    Args:
        folder: of the shards; a URL or a local path.
        cache_dir: local folder; the files lie in ``index/<hash of the folder>`` below it where the
            folder itself cannot be written, or is not to be: that of an HTTP server is other people's.
        alone: the addresses of the shards have queries, which go with nothing that lies beside them.
    """

    def __init__(self, folder: str, cache_dir: str, *, alone: bool = False) -> None:
        self.folder = folder
        absolute = folder if is_url(folder) else os.path.realpath(os.path.expanduser(folder or "."))
        name = hashlib.blake2b(absolute.rstrip("/").encode(), digest_size=8).hexdigest()
        self._spare = os.path.join(os.path.expanduser(cache_dir), "index", name)
        self._alone = alone
        if is_url(folder):
            self._beside = not alone and not folder.startswith(("http://", "https://"))
        else:
            self._beside = os.access(absolute, os.W_OK)

    def addresses(self, name: str) -> list[str]:
        """Where an index file may lie, the place that answers sooner first."""
        beside, spare = _joined(self.folder, name), os.path.join(self._spare, name)
        if self._alone:
            return [spare]
        return [spare, beside] if is_url(self.folder) else [beside, spare]

    def write(self, name: str, content: bytes) -> str:
        """Write an index file atomically; returns its address.

        Raises:
            DataError: it can be written neither beside the shards nor below the cache.
        """
        beside, spare = _joined(self.folder, name), os.path.join(self._spare, name)
        if self._beside:
            try:
                write_atomically(beside, content)
                with suppress(OSError):  # it is older
                    os.unlink(spare)
                return beside
            except DataError as error:
                _log.info("indexes of '%s' go to '%s': %s", self.folder, self._spare, error)
                self._beside = False
        try:
            os.makedirs(self._spare, exist_ok=True)
            write_atomically(spare, content)
        except (OSError, DataError) as error:
            raise DataError(
                f"the index '{name}' cannot be written, neither in '{self.folder}' nor in '{self._spare}': "
                f"{error}\n  name a folder that can be written:  data.cache_dir=…"
            ) from error
        return spare

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Hold the lock of an index file among all processes that share the folder (or the cache).

        Raises:
            Busy: another holds it, and ``wait`` is False.
        """
        with ExitStack() as held:
            try:
                lock = os.path.join(self._lock_folder(), f".{name}.lock")
                held.enter_context(locked(lock, _LONGEST_WAIT_S if wait else 0.0))
            except Busy:
                if not wait:
                    raise
            except OSError as error:  # some network file systems have no locks
                _log.info("no lock for '%s' in '%s': %s", name, self.folder, error)
            yield

    def _lock_folder(self) -> str:
        if self._beside and not is_url(self.folder):
            return os.path.expanduser(self.folder or ".")
        os.makedirs(self._spare, exist_ok=True)
        return self._spare


def _joined(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}" if is_url(folder) else os.path.join(folder, name)
