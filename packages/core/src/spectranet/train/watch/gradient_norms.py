"""How large is the gradient, of the whole model and of each part, and how is it kept from being larger?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from spectranet.model.build import parts_of
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World

__all__ = ["GradientNorms"]


class GradientNorms:
    """Clips the gradient, and tells the norms that it had before.

    The squares of all parameters' norms are taken over this rank's shards, summed by part, and added over
    the ranks in one all-reduce: the whole norm and those of the parts cost one pass over the gradient.

    Attributes:
        parameters: those that are trained, each once.
        parts: their names: each trunk, encoder and objective, memory and decoder; none without parameters.
        total, by_part: norms of the last gradient, over all ranks.
    """

    def __init__(self, model: SpectraNet, world: World) -> None:
        self.world = world
        self.parts: list[str] = []
        self.total, self.by_part = 0.0, dict[str, float]()
        self.parameters: list[Tensor] = []
        part_of, share = list[int](), list[float]()
        seen = set[Tensor]()
        for name, module in parts_of(model).items():
            if own := [p for p in module.parameters() if p.requires_grad and p not in seen]:
                part_of += [len(self.parts)] * len(own)
                share += [1 / _copies(p, world) for p in own]
                seen.update(own)
                self.parts.append(name.replace(" ", "."))
                self.parameters += own
        self._are_sharded = any(isinstance(p, DTensor) for p in self.parameters)
        self._part_of = torch.tensor(part_of, device=world.device)
        self._share = torch.tensor(share, dtype=torch.float64, device=world.device)

    @torch.no_grad()
    def clip(self, limit: float) -> float:
        """Scale the gradient to a norm of at most ``limit``; returns the norm before, over all ranks.

        A collective call. Every parameter must have a gradient (:func:`fill_gradients`).
        """
        gradients: list[Tensor] = [p.grad for p in self.parameters]  # type: ignore[misc]
        if self._are_sharded:
            gradients = [_local(gradient) for gradient in gradients]
        norms = torch.stack(torch._foreach_norm(gradients)).double()
        squares = torch.zeros(len(self.parts), dtype=torch.float64, device=self.world.device)
        self.world.sum(squares.index_add_(0, self._part_of, norms.square_().mul_(self._share)))
        total = squares.sum().sqrt()
        # A gradient that is not finite stays as it is, for who asks where it comes from.
        scale = (limit / (total + 1e-6)).clamp_(max=1.0).where(total.isfinite(), 1.0)
        torch._foreach_mul_(gradients, scale.float())
        *by_part, self.total = torch.cat([squares.sqrt(), total.reshape(1)]).tolist()
        self.by_part = dict(zip(self.parts, by_part, strict=True))
        return self.total

    def figures(self) -> dict[str, float]:
        """``grad_norm``, and ``grad_norm/PART`` of each part."""
        return {"grad_norm": self.total, **{f"grad_norm/{p}": norm for p, norm in self.by_part.items()}}


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient


def _copies(parameter: Tensor, world: World) -> int:
    """How many ranks hold the same shard, so that each counts a part of it only."""
    if not isinstance(parameter, DTensor):
        return world.size
    copies = 1
    for size, placement in zip(parameter.device_mesh.shape, parameter.placements, strict=True):
        copies *= size if placement.is_replicate() else 1
    return copies
