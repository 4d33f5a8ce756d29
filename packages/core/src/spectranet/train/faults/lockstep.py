"""Do all ranks take the same step? If not, who is out, where, and by whose fault?

FSDP2 with ranks at different micro-batches waits for ever, crashes or, where sizes happen to match, is
silently wrong. So ranks compare what they are about to do, and an error says what differs.

The comparison costs no collective of its own. Each rank makes a hash h of its step and adds h and h² to the
numbers that the step sums over the n ranks anyway. By Cauchy and Schwarz n·Σh² >= (Σh)², and they are equal
only where every h is the same. The sums must be exact for that: h has 20 bits, so that Σh² stays below
2⁵³, the integers that float64 holds, up to 8,192 ranks. Two such hashes miss one difference in 10¹².
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from spectranet.contracts import Batch
from spectranet.errors import SpectraNetError
from spectranet.model.spectranet import SpectraNet
from spectranet.plugins import PluginHost
from spectranet.train.distributed import World
from spectranet.train.stopping.ending import FAULT

__all__ = ["DesyncError", "Lockstep"]

_BITS = 20
_HASHES = 2
_SHOWN = 6

Facts = dict[str, str]
"""What is compared -> what it is on this rank, both for people."""


class DesyncError(SpectraNetError):
    """Ranks are about to take different steps. Every rank comes to it."""

    exit_code = FAULT
    same_on_all_ranks = True


class Lockstep:
    """Compares steps between ranks; making one is a collective call.

    Args:
        host: knows which plugin brings a modality or an objective.

    Raises:
        DesyncError: the ranks' objectives have different terms: their sums would not line up.
    """

    def __init__(self, model: SpectraNet, world: World, host: PluginHost) -> None:
        self._world = world
        self._host = host
        self._lasting = {"plugins": host.digest()[:12]} | {
            self._name("objective", name): _terms(name in model.global_objectives, objective.terms)
            for name, objective in model.objectives.items()
        }
        self._salt = json.dumps(self._lasting).encode()
        numbers = torch.tensor(_hashes(self._salt), dtype=torch.float64, device=world.device)
        if not _all_same(world.sum(numbers).tolist(), world.size):
            raise self._explain(self._lasting)

    def numbers(self, step: int, batches: Sequence[Batch]) -> list[float]:
        """What this rank adds to the sums of a step."""
        return _hashes(self._salt + repr((step, [_signature(batch) for batch in batches])).encode())

    def require(self, sums: Sequence[float], step: int, batches: Sequence[Batch]) -> None:
        """Compare, by the sums of :meth:`numbers` over all ranks.

        Raises:
            DesyncError: they differ; a collective call tells how.
        """
        if not _all_same(sums, self._world.size):
            raise self._explain(self._facts(step, batches))

    def _facts(self, step: int, batches: Sequence[Batch]) -> Facts:
        facts = self._lasting | {"step": str(step), "micro-batches": str(len(batches))}
        for index, batch in enumerate(batches):
            facts[f"micro-batch {index}, source"] = f"'{batch.source}'"
            facts[f"micro-batch {index}, samples"] = str(len(batch))
            for name, dimensions, tensors in _signature(batch)[2]:
                told = ", ".join(f"{key} {dtype} of {rank} dimensions" for key, dtype, rank in tensors)
                where = f"micro-batch {index}, {self._name('modality', name)}"
                facts[where] = f"{told}, {dimensions} coordinates"
        return facts

    def _name(self, kind: str, name: str) -> str:
        return f"{kind} '{name}' (plugin '{self._host.brought_by(kind, name)}')"

    def _explain(self, mine: Facts) -> DesyncError:
        """Gather what every rank is about to do; the most common is taken for right."""
        lines = [json.dumps(facts) for facts in self._world.tell_all(mine)]
        usual = max(Counter(lines).items(), key=lambda item: (item[1], item[0] == lines[0]))[0]
        right = json.loads(usual)
        when = f"in step {right['step']}" if "step" in right else "before the first step"
        odd = [rank for rank, line in enumerate(lines) if line != usual]
        if not odd:
            return DesyncError(
                f"ranks are out of step {when}, and no longer when asked how: is memory sound?"
            )
        named = ", ".join(f"rank {rank}" for rank in odd)
        rows = _differences(json.loads(lines[odd[0]]), right, odd[0], lines.index(usual))
        more = [f"… and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else []
        return DesyncError(
            "\n  ".join(
                [
                    f"ranks are out of step {when}: {named} against {len(lines) - len(odd)} of {len(lines)}.",
                    *rows[:_SHOWN],
                    *more,
                    "compare plugins, data and library versions on the machines:  spectranet plugins;  "
                    "spectranet data inspect …",
                ]
            )
        )


def _differences(odd: Facts, usual: Facts, odd_rank: int, usual_rank: int) -> list[str]:
    def on(facts: Facts, what: str, rank: int) -> str:
        return f"{facts.get(what, 'not there')} on rank {rank}"

    return [
        f"{what}: {on(odd, what, odd_rank)}, {on(usual, what, usual_rank)}"
        for what in {**usual, **odd}
        if odd.get(what) != usual.get(what)
    ]


def _terms(needs_global_batch: bool, terms: Sequence[str]) -> str:
    over = "the global batch" if needs_global_batch else "micro-batches"
    return f"terms {', '.join(terms) or 'none'} over {over}"


def _signature(batch: Batch) -> tuple[str, int, list[tuple[str, int, list[tuple[str, str, int]]]]]:
    """What must agree; lengths need not, since each rank pads to the longest of its own samples."""
    modalities: Mapping[str, Any] = batch.modalities
    return (
        batch.source,
        len(batch),
        [
            (
                name,
                one.position_BNP.shape[-1],
                [(key, str(tensor.dtype), tensor.ndim) for key, tensor in sorted(one.data.items())],
            )
            for name, one in modalities.items()
        ],
    )


def _hashes(content: bytes) -> list[float]:
    """Two hashes h of ``content``, each followed by its square."""
    digest = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())
    hashes = [digest >> (_BITS * i) & (2**_BITS - 1) for i in range(_HASHES)]
    return [float(number) for h in hashes for number in (h, h * h)]


def _all_same(sums: Sequence[float], ranks: int) -> bool:
    pairs = zip(map(int, sums[::2]), map(int, sums[1::2]), strict=True)
    return all(ranks * squares == total * total for total, squares in pairs)
