"""The gradient of one step: the same for every way of cutting its global batch.

Losses come as (sum, weight). Masks and lengths are data, so the weights of a whole step are known
before the first forward: they are summed over all micro-batches and ranks, and every micro-batch
divides by that. Losses over the whole global batch (contrast) take two passes, after Gao et al.
2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (GradCache):

1. the encoders run over all micro-batches without gradient; their embeddings are gathered once
   across ranks, and the loss and its gradient at each embedding are computed;
2. each micro-batch runs with gradient and adds <embedding, cached gradient> to its other losses
   before its one backward.

A step of :class:`ObjectivePass` therefore reads: ``denominators``, ``embed_all`` and ``contrast`` (pass 1),
``descend`` for each micro-batch (pass 2). Nothing in it waits for a GPU: what is counted is counted on the
host, and what is measured stays on the device until it is logged.

Masks are drawn with the data, so both passes see the same views. Pass 1 takes the first micro-batch
last and keeps what its encoders computed, with its graph, for pass 2 to start from: a step of one
micro-batch runs its encoders once. A small model may keep that of all micro-batches
(``train.keep_encoded``): the memory of their encoder activations buys the time of one encoder forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spectranet.config import Config
from spectranet.contracts import Batch, Encoded, Rows
from spectranet.errors import PluginError
from spectranet.model.move import to_device
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World
from spectranet.train.faults.lockstep import Lockstep
from spectranet.train.parallel.accumulation import Accumulation

__all__ = ["ObjectivePass", "StepLosses", "coefficients"]

Graphs = list[dict[str, Encoded] | None]
"""What the encoders gave for each micro-batch, with its graph; None where that was not kept."""

OwnRows = dict[str, dict[str, Rows]]
"""objective -> name -> rows of one micro-batch."""

Cached = dict[str, dict[str, Tensor]]
"""objective -> name -> gradient of the loss over the global batch at the rows of one micro-batch."""


@dataclass
class StepLosses:
    """What a step measured. Sums of local terms are of this rank until :meth:`reduce`."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    denominators: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float | Tensor] = field(default_factory=dict)

    def reduce(self, world: World, coefficients: Mapping[str, float]) -> dict[str, float]:
        """``loss/<term>`` of the terms that occurred, their weighted total as ``loss``, and the metrics.

        A collective call, which waits for the device: one all-reduce, one transfer.
        """
        terms = sorted(t for t, weight in self.denominators.items() if weight > 0)
        if not terms:
            return {"loss": 0.0}
        measured = {name: each for name, each in self.metrics.items() if isinstance(each, Tensor)}
        sums = world.sum(torch.stack([self.sums[t].double() for t in terms]))
        numbers = torch.cat([sums, *(each.double().reshape(1) for each in measured.values())]).tolist()
        values = {t: total / self.denominators[t] for t, total in zip(terms, numbers, strict=False)}
        result = {f"loss/{term}": value for term, value in values.items()}
        result["loss"] = sum(coefficients[term] * value for term, value in values.items())
        metrics = self.metrics | dict(zip(measured, numbers[len(terms) :], strict=True))
        return result | metrics  # type: ignore[operator]


def coefficients(config: Config) -> dict[str, float]:
    """Objective -> what its losses are multiplied by."""
    return {name: float(options.weight) for name, options in config.objectives.items()}


class ObjectivePass:
    """Runs the micro-batches of a step forward and backward; gradients end in the parameters.

    Args:
        coefficients: objective -> what its losses are multiplied by.
        keep_encoded: keep the encoders' graphs of pass 1 for pass 2; else of the first micro-batch alone.
        gather: ``reshard`` or ``keep``, see ``train.gather``.
        lockstep: compares each step between ranks, by the numbers that it sums anyway.

    Attributes:
        before_each: called before each forward of a micro-batch, on all ranks alike.
    """

    def __init__(
        self,
        model: SpectraNet,
        world: World,
        coefficients: Mapping[str, float],
        keep_encoded: bool = False,
        gather: str = "reshard",
        lockstep: Lockstep | None = None,
    ) -> None:
        self.model = model
        self.world = world
        self.keep_encoded = keep_encoded
        self.lockstep = lockstep
        self.before_each: Callable[[], None] = lambda: None
        self.accumulation = Accumulation(model, world, gather)
        terms = {name: tuple(each.terms) for name, each in model.objectives.items()}  # type: ignore[arg-type]
        self.term_coefficients = {term: coefficients[name] for name in terms for term in terms[name]}
        self.global_names = tuple(sorted(model.global_objectives))
        self.local = {n: o for n, o in model.objectives.items() if n not in model.global_objectives}
        self.counted = sorted(term for name in self.local for term in terms[name])

    def __call__(self, batches: Sequence[Batch], step: int = 0) -> StepLosses:
        """One step's gradient; ``step`` is told where ranks are found to differ."""
        self.accumulation.begin(batches)
        losses = StepLosses(denominators=self.denominators(batches, step))
        graphs: Graphs = [None] * len(batches)
        cached: list[Cached] = [{} for _ in batches]
        if self.global_names:
            cached = self.contrast(self.embed_all(batches, graphs), losses)
        for index, batch in enumerate(batches):
            self.descend(index, batch, graphs, cached[index], losses)
        for term in self.counted:
            losses.sums.setdefault(term, torch.zeros((), device=self.world.device))
        return losses

    def denominators(self, batches: Sequence[Batch], step: int = 0) -> dict[str, float]:
        """Weight of each local term over the whole step: one all-reduce over a fixed set of keys, on the CPU.

        Raises:
            DesyncError: the ranks are about to take different steps.
        """
        weights = dict.fromkeys(self.counted, 0.0)
        for batch in batches:
            for name, objective in self.local.items():
                for term, weight in objective.weights(batch).items():  # type: ignore[operator]
                    if term not in weights:
                        raise PluginError(
                            f"objective '{name}' gives a weight to '{term}', which is not in its terms: "
                            f"{', '.join(objective.terms)}"  # type: ignore[arg-type]
                        )
                    weights[term] += float(weight)
        compared = self.lockstep.numbers(step, batches) if self.lockstep else []
        summed = self.world.sum(torch.tensor([*compared, *weights.values()], dtype=torch.float64)).tolist()
        if self.lockstep:
            self.lockstep.require(summed[: len(compared)], step, batches)
        return dict(zip(weights, summed[len(compared) :], strict=True))

    def embed_all(self, batches: Sequence[Batch], graphs: Graphs) -> list[OwnRows]:
        """Pass 1: what each micro-batch brings to the losses over the global batch; graphs that are kept."""
        found: list[OwnRows] = [{} for _ in batches]
        for index in (*range(1, len(batches)), 0):
            self.before_each()
            keep = self.keep_encoded or index == 0
            with torch.set_grad_enabled(keep):
                batch = to_device(batches[index], self.world.device)
                rows, encoded = self.model("embed", self.global_names, batch)
            found[index] = {o: {n: _detached(r) for n, r in by_name.items()} for o, by_name in rows.items()}
            if keep:
                graphs[index] = encoded
        return found

    def contrast(self, rows: Sequence[OwnRows], losses: StepLosses) -> list[Cached]:
        """The losses over the global batch, and their gradient at the rows of each micro-batch."""
        leaves, own = self.gather(rows)
        if not leaves:
            return [{} for _ in rows]
        total, parts = self.model("global", leaves, self.term_coefficients)
        self.accumulation.before_global_backward()
        # Every rank holds the same full loss, and FSDP averages: a scale's gradient enters once.
        _backward(total, 1)
        for term, loss in parts.items():
            # Each rank knows the whole sum; the reduction over ranks adds them up again.
            losses.sums[term] = loss.sum / self.world.size
            losses.denominators[term] = float(loss.weight)
            losses.metrics |= {f"metric/{term}/{key}": number for key, number in loss.metrics.items()}
        cached: list[Cached] = [{objective: {} for objective in leaves} for _ in rows]
        for objective, by_name in leaves.items():
            for name, leaf in by_name.items():
                sizes = [
                    len(each[objective][name].vectors_RE) if name in each[objective] else 0 for each in rows
                ]
                gradients = _gradient(leaf)[own[objective][name]].split(sizes)
                for one, gradient_RE in zip(cached, gradients, strict=True):
                    one[objective][name] = gradient_RE  # empty where a micro-batch has no such rows
        return cached

    def gather(self, rows: Sequence[OwnRows]) -> tuple[OwnRows, dict[str, dict[str, slice]]]:
        """The rows of all micro-batches and ranks, to differentiate at, and which of them are our own."""
        leaves: OwnRows = {}
        own: dict[str, dict[str, slice]] = {}
        for objective in self.global_names:
            for name in sorted({name for each in rows for name in each[objective]}):
                mine = [each[objective][name] for each in rows if name in each[objective]]
                vectors, ours = self.world.gather_rows(torch.cat([m.vectors_RE for m in mine]).float())
                ids, _ = self.world.gather_rows(torch.cat([m.ids_RI for m in mine]))
                leaf = Rows(vectors.requires_grad_(), ids)
                # beside the vectors too, where objectives for the contract of 0.1 look for them
                beside = Rows(vectors, ids.to(vectors.device, non_blocking=True))
                leaves.setdefault(objective, {})[name] = beside.moved_from(leaf)
                own.setdefault(objective, {})[name] = ours
        return leaves, own

    def descend(self, index: int, batch: Batch, graphs: Graphs, cached: Cached, losses: StepLosses) -> None:
        """Pass 2: forward and the one backward of micro-batch ``index``; its graph is let go."""
        self.before_each()
        batch = to_device(batch, self.world.device)
        arguments = (losses.denominators, self.term_coefficients, cached)
        total, sums = self.model("train", batch, graphs[index], *arguments)
        graphs[index] = None
        self.accumulation.before_backward(index)
        # FSDP averages gradients over ranks; ours are already divided by the global weight.
        _backward(total, self.world.size)
        for term, value in sums.items():
            losses.sums[term] = losses.sums.get(term, 0) + value


def _backward(total: Tensor, factor: int) -> None:
    """A loss that is not finite makes its gradient so, on every rank: the step is then skipped."""
    (total * (factor + 0 * total.detach())).backward()


def _detached(rows: Rows) -> Rows:
    return Rows(rows.vectors_RE.detach(), rows.ids_RI.cpu())


def _gradient(rows: Rows) -> Tensor:
    gradient = rows.vectors_RE.grad
    return torch.zeros_like(rows.vectors_RE) if gradient is None else gradient
