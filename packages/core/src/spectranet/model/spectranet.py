"""The whole model: encoders to memory, queries to answers, answers to losses.

Everything that touches a parameter happens inside ``SpectraNet.forward``, because FSDP gathers the
parameters of the root around that call. ``forward`` therefore takes what to do as its first
argument: ``train`` (a micro-batch's share of the loss), ``embed`` (embeddings of an objective, for
the loss over the global batch and for retrieval), ``global`` (that loss itself).

Shape suffixes: B samples, N tokens of a modality, M memory tokens, D width, Q queries, R rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from spectranet.contracts import Batch, Encoded, Loss, Queries, Rows
from spectranet.errors import ConfigError, PluginError
from spectranet.model.decoder import CrossModalDecoder, Memory
from spectranet.model.functional import sincos_position
from spectranet.model.move import to_device

__all__ = ["MemoryBuilder", "SpectraNet"]


class SpectraNet(nn.Module):
    """Encoders, memory, decoder and objectives.

    Args:
        encoders: by modality.
        trunks: networks that encoders share, by name.
        trunk_of: modality -> name of its trunk, where it has one.
        memory: from encoder tokens to the decoder's memory.
        decoder: queries to states.
        objectives: by name.
        global_objectives: names of the objectives that need the global batch.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        trunks: Mapping[str, nn.Module],
        trunk_of: Mapping[str, str],
        memory: MemoryBuilder,
        decoder: CrossModalDecoder,
        objectives: Mapping[str, nn.Module],
        global_objectives: frozenset[str],
    ) -> None:
        super().__init__()
        self.trunks = nn.ModuleDict(trunks)
        self.encoders = nn.ModuleDict(encoders)
        self.memory = memory
        self.decoder = decoder
        self.objectives = nn.ModuleDict(objectives)
        self.trunk_of = dict(trunk_of)
        self.global_objectives = global_objectives
        self.touch_objectives = False

    def forward(self, what: str, *args: Any) -> Any:
        return getattr(self, f"_{what}")(*args)

    def embed(self, objective: str, batch: Batch) -> dict[str, Rows]:
        """Embeddings that ``objective`` compares; see :class:`spectranet.tasks.embedder.Embedder`.

        Raises:
            ConfigError: the model has no such objective over the global batch.
        """
        if objective not in self.global_objectives:
            there = ", ".join(sorted(self.global_objectives)) or "none"
            raise ConfigError(
                f"embeddings of the objective '{objective}' are asked for, which this model lacks.\n"
                f"  its objectives that have some: {there}"
            )
        rows, _ = self("embed", (objective,), to_device(batch, self.memory.null.device))
        return rows[objective]  # type: ignore[no-any-return]

    @torch.no_grad()
    def after_step(self) -> None:
        """Let objectives mend their own parameters after an update, such as clamping a scale."""
        for objective in self.objectives.values():
            if hasattr(objective, "after_step"):
                objective.after_step()

    def _train(
        self,
        batch: Batch,
        encoded: dict[str, Encoded] | None,
        denominators: Mapping[str, float],
        coefficients: Mapping[str, float],
        cached: Mapping[str, Mapping[str, Tensor]],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One micro-batch's share of the step's loss, to call backward on, and its sums by term.

        ``encoded`` is what an earlier ``embed`` with gradient gave for it, if that was kept.
        ``cached`` holds, for objectives over the global batch, the gradient of that loss at each
        row of this micro-batch: <row, gradient> has the same gradient as the loss itself.
        """
        encoded = self.encode(batch) if encoded is None else encoded
        sums: dict[str, Tensor] = {}
        losses, total = self._local_losses(batch, encoded)
        for term, loss in losses.items():
            if term not in denominators:
                raise PluginError(f"an objective returned a loss '{term}' that is not in its terms")
            if denominators[term] > 0:
                total = total + loss.sum * (coefficients[term] / denominators[term])
                sums[term] = loss.sum.detach().clone()
        for name, gradients in cached.items():
            rows = self.objectives[name].embeddings(encoded, batch)
            for key in sorted(rows):
                total = total + (rows[key].vectors_RE.float() * gradients[key]).sum()
        return total, sums

    def _local_losses(self, batch: Batch, encoded: dict[str, Encoded]) -> tuple[dict[str, Loss], Tensor]:
        """Losses of the objectives that look at one micro-batch, and a zero to add to.

        Where nobody asks anything (a batch with nothing hidden) the decoder answers an empty query
        all the same: another rank's batch may ask, and its collectives need every rank.
        """
        local = {n: o for n, o in self.objectives.items() if n not in self.global_objectives}
        asked = {name: objective.queries(batch, encoded) for name, objective in local.items()}
        groups = {name: queries for name, queries in asked.items() if queries is not None}
        zero = sum((one.pooled_BD.float().sum() * 0 for one in encoded.values()), self.memory.null.sum() * 0)
        if self.touch_objectives:
            # What is sharded on its own (a scale in fp32) is used on all ranks or on none.
            whole = (p for p in self.objectives.parameters() if not isinstance(p, DTensor))
            zero = zero + sum(p.float().sum() * 0 for p in whole)
        if local and not groups:
            nothing = self.memory.null.expand(len(batch), 1, -1)
            valid_B1 = torch.ones(len(batch), 1, dtype=torch.bool, device=nothing.device)
            groups["nobody"] = Queries("nobody", nothing, valid_B1, reads=())
        states = self.decode(groups, encoded)
        if "nobody" in states:
            zero = zero + states["nobody"].float().sum() * 0
        losses: dict[str, Loss] = {}
        for name, objective in local.items():
            losses |= objective.loss(states.get(name), encoded, batch)
        return losses, zero

    def _embed(
        self, objectives: tuple[str, ...], batch: Batch
    ) -> tuple[dict[str, dict[str, Rows]], dict[str, Encoded]]:
        encoded = self.encode(batch)
        return {name: self.objectives[name].embeddings(encoded, batch) for name in objectives}, encoded

    def _global(
        self, rows: Mapping[str, dict[str, Rows]], coefficients: Mapping[str, float]
    ) -> tuple[Tensor, dict[str, Loss]]:
        """The losses over the global batch: their weighted total, and by term, without a graph."""
        parts: dict[str, Loss] = {}
        first = next(iter(next(iter(rows.values())).values()))
        total = first.vectors_RE.sum() * 0
        for name in sorted(rows):
            for term, loss in self.objectives[name].global_loss(rows[name]).items():
                if loss.weight > 0:
                    total = total + loss.sum * (coefficients[term] / loss.weight)
                    parts[term] = Loss(loss.sum.detach().clone(), loss.weight, loss.metrics)
        return total, parts

    def encode(self, batch: Batch) -> dict[str, Encoded]:
        encoded = {}
        for name, inputs in batch.modalities.items():
            trunk = self.trunk_of.get(name)
            arguments = () if trunk is None else (self.trunks[trunk],)
            one = self.encoders[name](inputs, *arguments)
            if not isinstance(one, Encoded):
                raise PluginError(
                    f"the encoder of modality '{name}' returned {type(one).__name__}; the contract asks for"
                    " spectranet.Encoded.\n"
                    "  what it asks:  python -m spectranet.testing shapes-and-types"
                )
            encoded[name] = one
        return encoded

    def decode(self, asked: Mapping[str, Queries], encoded: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """States of each objective's queries, (B, Q, D)."""
        if not asked:
            return {}
        return dict(zip(asked, self.decoder(list(asked.values()), self.memory(encoded)), strict=True))


class MemoryBuilder(nn.Module):
    """Encoder tokens, projected to the decoder's width and marked with modality and position.

    The position code has no parameters and is the same one that mask queries carry, so that a
    query finds the neighbours of the place it asks about from the first step on.
    """

    def __init__(self, encoder_widths: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.ModuleDict({n: nn.Linear(w, width) for n, w in sorted(encoder_widths.items())})
        self.modality = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(width)) for name in sorted(encoder_widths)}
        )
        self.null = nn.Parameter(torch.empty(width))

    def init_weights(self) -> None:
        for project in self.project.values():
            nn.init.xavier_uniform_(project.weight)
            nn.init.zeros_(project.bias)
        for vector in (*self.modality.values(), self.null):
            nn.init.normal_(vector, std=0.02)

    def forward(self, encoded: Mapping[str, Encoded]) -> Memory:
        first = next(iter(encoded.values()))
        parts = [self.null.expand(len(first.pooled_BD), 1, -1)]
        valid = [first.valid_BN.new_ones(len(first.pooled_BD), 1)]
        spans, start = {"": (0, 1)}, 1
        for name, one in encoded.items():
            where = sincos_position(one.position_BNP, self.width).to(one.tokens_BND.dtype)
            parts.append(self.project[name](one.tokens_BND) + self.modality[name] + where)
            valid.append(one.valid_BN)
            spans[name] = (start, start := start + one.tokens_BND.shape[1])
        return Memory(torch.cat(parts, dim=1), torch.cat(valid, dim=1), spans)
