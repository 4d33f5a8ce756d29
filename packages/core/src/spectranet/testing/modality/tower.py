"""How does a clause build a modality's network? As the core does: meta device, then storage, then weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from spectranet.contracts import Encoded, Loss, Modality, ModalityBatch
from spectranet.model.initialise import initialise

__all__ = ["CLEAN", "DECODER_WIDTH", "Rubbish", "Tower", "built", "fixed_normal", "initialised", "tensors_of"]

DECODER_WIDTH = 24
"""Width of the states that the target head gets."""


Rubbish = tuple[float, int]
"""What memory holds before anything is put there: where tensors are floating point, and elsewhere."""
CLEAN: Rubbish = (0.0, 0)
"""So that what one clause finds unfilled spoils no other."""


class Tower(nn.Module):
    """A modality's encoder, the trunk that it shares, if any, and its target head."""

    def __init__(self, trunk: nn.Module | None, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.encoder = encoder
        self.head = head

    def forward(self, batch: ModalityBatch) -> Encoded:
        return self.encoder(batch) if self.trunk is None else self.encoder(batch, self.trunk)  # type: ignore[no-any-return]

    def target_loss(self, batch: ModalityBatch) -> Loss:
        """The target head's, of states made from nothing but a fixed seed."""
        states_BHD = fixed_normal(*batch.hidden_BH.shape, DECODER_WIDTH)
        return self.head(states_BHD, batch)  # type: ignore[no-any-return]

    def parts(self) -> dict[str, nn.Module]:
        """By the name under which messages and seeds know them."""
        return dict(self.named_children())


def built(modality: Modality, config: Any, trunk_config: Any) -> Tower:
    """The tower on the meta device: shapes without storage."""
    with torch.device("meta"):
        trunk = None if modality.trunk is None else modality.trunk.build(trunk_config)
        encoder = modality.build_encoder(config, trunk)
        head = modality.build_target_head(config, DECODER_WIDTH)
    return Tower(trunk, encoder, head)


def initialised(tower: Tower, seed: int = 0, rubbish: Rubbish = CLEAN) -> Tower:
    """Storage full of ``rubbish``, then the weights of each part from (seed, part) alone."""
    for name, part in tower.parts().items():
        part.to_empty(device="cpu")
        for tensor in tensors_of(part).values():
            tensor.detach().fill_(rubbish[0] if tensor.is_floating_point() else rubbish[1])
        initialise(part, name, seed, torch.device("cpu"))
    return tower


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, also those that no state dict has."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def fixed_normal(*shape: int) -> Tensor:
    """N(0, 1), the same for the same shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))
