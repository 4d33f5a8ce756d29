"""What is a reader told when it opens a path?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["OpenOptions"]


@dataclass(frozen=True)
class OpenOptions:
    """Passed to ``Reader.open(path, options)``.

    A reader that can tell cheaply leaves out the rows that lack a need, and says how many and why
    in ``dropped: Mapping[str, int]`` on its sample set, and may say in ``found: Sequence[str]`` which
    fields there are, so that a mistaken name can be mended. One that cannot may ignore ``needs``: such
    rows are then found when they are read, and replaced.

    Attributes:
        where: keep only rows whose column has this value, or one of these; see :meth:`kept_values`.
        needs: for each modality the fields that it may come from, the preferred first; a sample
            must have at least one of each.
        needed_by: the modality of each need, in the same order.
        literal: columns whose value is the content itself rather than the path of a file.
        cache_dir: folder for local copies of remote shards, and for indexes that cannot be written
            beside their shards.
        cache_bytes: most space that the copies may take.
    """

    where: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    needs: Sequence[Sequence[str]] = ()
    needed_by: Sequence[str] = ()
    literal: frozenset[str] = frozenset()
    cache_dir: str = "~/.cache/spectranet"
    cache_bytes: int = 64 << 30

    def met_by(self, fields: Sequence[str] | set[str] | Mapping[str, object]) -> bool:
        """Whether a sample with these fields has one for every need."""
        return all(any(name in fields for name in names) for names in self.needs)

    def kept_values(self) -> dict[str, tuple[str, ...]]:
        """``where`` with column names in lower case, and one value as a list of one."""
        return {
            name.lower(): (values,) if isinstance(values, str) else tuple(values)
            for name, values in self.where.items()
        }
