"""How does the kit take an objective's losses? As the core does: sums and weights over micro-batches.

Instead of the decoder, a small fixed network answers the queries; each answer is made of its query and of the
mean of what the group may read.

Shape suffixes as in ``spectranet.contracts``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from spectranet.contracts import Encoded, Loss, Queries, Rows
from spectranet.testing.objective.samples import Shown, at_least_fp32

__all__ = ["Answers", "Trial", "gradients_at", "number", "total_of"]


class Answers(nn.Module):
    """States of queries, (B, Q, D); samples do not see one another, nor do queries."""

    def __init__(self, width: int, encoder_widths: Mapping[str, int]) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(7)

        def matrix(rows: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, width, generator=rng) / rows**0.5)

        self.of_query = matrix(width)
        self.of_memory = nn.ParameterDict({n: matrix(w) for n, w in sorted(encoder_widths.items())})

    def forward(self, queries: Queries, encoded: Mapping[str, Encoded]) -> Tensor:
        states_BQD = torch.tanh(queries.tokens_BQD.to(self.of_query.dtype) @ self.of_query)
        for name in queries.reads:
            if name in encoded:
                one = encoded[name]
                valid_BV1 = one.valid_BN.unsqueeze(-1)
                sum_BD = one.tokens_BND.masked_fill(~valid_BV1, 0).sum(1)
                mean_BD = sum_BD / valid_BV1.sum(1).clamp_min(1)
                states_BQD = states_BQD + (mean_BD @ self.of_memory[name]).unsqueeze(1)
        return states_BQD


@dataclass(frozen=True)
class Trial:
    """An objective's module under test, and who answers its queries.

    Args:
        change: what becomes of the states before the objective gets them: ``(states, queries) -> states``.
    """

    module: Any
    over_global_batch: bool
    answers: Answers
    change: Callable[[Tensor, Queries], Tensor] = lambda states_BQD, queries: states_BQD

    def losses(self, parts: Sequence[Shown]) -> dict[str, Loss]:
        """Of a step cut into ``parts``: the sum of each term over them, and its weight as announced."""
        if self.over_global_batch:
            return dict(self.module.global_loss(self.rows(parts)))
        found: dict[str, Loss] = {}
        for part in parts:
            weights = self.module.weights(part.batch)
            for term, loss in self.local(part).items():
                before = found.get(term, Loss(loss.sum.new_zeros(()), 0.0))
                weight = before.weight + number(weights.get(term, 0.0))
                found[term] = Loss(before.sum + loss.sum, weight, loss.metrics)
        return found

    def local(self, part: Shown) -> dict[str, Loss]:
        """What the module itself says of one micro-batch."""
        return dict(self.module.loss(self.states(part), part.encoded, part.batch))

    def states(self, part: Shown) -> Tensor | None:
        queries = self.module.queries(part.batch, part.encoded)
        return None if queries is None else self.change(self.answers(queries, part.encoded), queries)

    def rows(self, parts: Sequence[Shown]) -> dict[str, Rows]:
        """Rows of all micro-batches, one after another, with their graph, in fp32 or more as the core's."""
        made = [self.module.embeddings(part.encoded, part.batch) for part in parts]
        joined = {}
        for name in sorted({name for rows in made for name in rows}):
            some = [rows[name] for rows in made if name in rows]
            vectors_RE = at_least_fp32(torch.cat([rows.vectors_RE for rows in some]))
            joined[name] = Rows(vectors_RE, torch.cat([rows.ids_RI for rows in some]))
        return joined

    def own_parameters(self) -> dict[str, Tensor]:
        return {f"parameter {name}": parameter for name, parameter in self.module.named_parameters()}

    def in_dtype(self, dtype: torch.dtype) -> Trial:
        """A copy in this dtype; in bf16 submodules with ``full_precision = True`` stay in fp32."""
        module, answers = copy.deepcopy(self.module), copy.deepcopy(self.answers)
        kept = [one for one in module.modules() if getattr(one, "full_precision", False)]
        held = [copy.deepcopy(one.state_dict()) for one in kept]
        module.to(dtype)
        if dtype == torch.bfloat16:
            for one, values in zip(kept, held, strict=True):
                one.to(torch.float32).load_state_dict(values)
        return Trial(module, self.over_global_batch, answers.to(dtype), self.change)


def number(value: float | Tensor) -> float:
    """A sum or a weight, without its graph."""
    return float(value.detach() if isinstance(value, Tensor) else value)


def total_of(losses: Mapping[str, Loss]) -> Tensor:
    """What a step descends: each sum divided by its weight, where that is not 0."""
    shares = [loss.sum / number(loss.weight) for loss in losses.values() if number(loss.weight) > 0]
    return torch.stack(shares).sum() if shares else torch.zeros(())


def gradients_at(total: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of ``total`` at each leaf, zero where it does not depend on it."""
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
