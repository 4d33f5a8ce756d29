"""Samples as files in a folder: files with the same path up to their last dot are one sample.

Sub-folders belong to it; names that start with a dot do not, nor do files without an extension.
Samples are in the order of their names.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from spectranet.contracts import RawSample
from spectranet.data.left_out import LeftOut
from spectranet.data.members import lacking, offered, read_fields
from spectranet.data.options import OpenOptions
from spectranet.data.paths import missing_source
from spectranet.data.stores.store import Absent, read_all
from spectranet.errors import DataError

__all__ = ["FolderSamples", "is_folder"]


def is_folder(path: str) -> bool:
    return os.path.isdir(os.path.expanduser(path))


class FolderSamples:
    """Random access to the samples of a folder.

    Raises:
        DataError: the folder is missing or cannot be listed.
    """

    def __init__(self, path: str, options: OpenOptions) -> None:
        if options.where:
            raise DataError(f"'{path}' is a folder, and 'where' needs the columns of a manifest")
        self._root = os.path.expanduser(path)
        if not os.path.exists(self._root):
            raise DataError(missing_source(path))
        left_out = LeftOut()
        files: dict[str, dict[str, str]] = {}
        for name in _walk(self._root, ""):
            key, _, extension = name.rpartition(".")
            of_sample = files.setdefault(key, {})
            if extension.lower() in of_sample:
                left_out.add("second file with the same stem and extension", f"'{name}'")
            else:
                of_sample[extension.lower()] = name
        counted = Counter(extension for of_sample in files.values() for extension in of_sample)
        self.found = dict(sorted(counted.items()))
        self._samples: list[tuple[str, dict[str, str]]] = []
        for key in sorted(files):
            fields = offered(files[key], options)
            if options.met_by(fields):
                self._samples.append((key, files[key]))
            else:
                left_out.add("sample without " + lacking(fields, options), f"'{key}'")
        self.dropped = left_out.by_reason()

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def identity(self) -> str:
        """A digest of the names of the files."""
        digest = hashlib.blake2b(digest_size=8)
        for _, files in self._samples:
            digest.update(os.fsencode("\0".join([*files.values(), ""])))
        return digest.hexdigest()

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        """The sample in ``row``, with those of the ``wanted`` extensions that it has.

        Raises:
            DataError: one of its files cannot be read.
        """
        key, files = self._samples[row]
        return RawSample(key, read_fields(wanted, files, lambda name: self._content(files[name]), key))

    def key(self, row: int) -> str:
        return self._samples[row][0]

    def _content(self, name: str) -> bytes:
        try:
            return read_all(os.path.join(self._root, name))
        except Absent as error:
            raise DataError(f"file '{name}' does not exist in '{self._root}' any more") from error


def _walk(root: str, below: str) -> Iterator[str]:
    """Relative paths of the files under ``root``; linked folders are not entered (they may loop)."""
    try:
        entries = sorted(os.scandir(os.path.join(root, below)), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder '{os.path.join(root, below)}' cannot be listed: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        name = os.path.join(below, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, name)
        elif entry.is_file() and "." in entry.name:
            yield name
