"""What may a task ask of a model?"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spectranet.contracts import Batch, Rows

__all__ = ["Embedder"]


class Embedder(Protocol):
    """The model as a task's ``evaluate`` gets it, in evaluation mode and without gradient: this and no more.

    ``evaluate`` runs on every rank, each is given the same batches, and a sharded model needs all of them for
    each call: so every rank makes the same calls in the same order, whatever it does with the rows.
    """

    @property
    def objectives(self) -> Container[str]:
        """Names of the objectives that the model was trained with, to ask with ``in``."""

    def embed(self, objective: str, batch: Batch) -> dict[str, Rows]:
        """What ``objective`` compares, by the names it gives (contrast: by modality), one row an identity.

        ``batch`` is as :class:`TaskData` gives it, on the host. The rows are of this batch alone, the same on
        every rank; ``vectors_RE`` are on the model's device, ``ids_RI`` on the host.

        Raises:
            ConfigError: the model has no such objective over the global batch (``needs_global_batch``).
        """
