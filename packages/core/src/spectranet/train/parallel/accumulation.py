"""What do ranks send each other in which micro-batch of a step?

FSDP gathers a unit's weights before it runs, and after its backward reduces its gradient. Three of its
switches are turned here, from one backward to the next:

- **Which gradients are reduced.** A weight that only one rank's samples happened to use (a head of an
  objective) must take part in the reduction on all of them, with zeros, or ranks would reduce tensors of
  different sizes. FSDP then reduces zeros for every unit it has ever gathered: for towers of other
  sources in each micro-batch, and for the whole model after the loss over the global batch, which has at
  most a scale to reduce. So zeros are asked for where a micro-batch's modalities lead, and nowhere else.
- **When replicas are reduced.** Where the model is replicated, each micro-batch is reduce-scattered among
  the ranks that hold one copy, and all copies are reduced once: in the *last micro-batch that uses the
  unit*, which is known from the data. Later would lose the gradient of a tower that only other
  micro-batches have.
- **When weights are let go** (``train.gather``): after each use, or after their last use in the step.

Accumulating without reducing at all is not offered: it holds whole gradients in fp32, five times the
memory of a 13.7 B model on 64 ranks, and FSDP refuses it in bf16 where sources have different towers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from torch.distributed.fsdp import FSDPModule

from spectranet.contracts import Batch
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World
from spectranet.train.parallel.mesh import replicas_of

__all__ = ["FILLS_WITH_ZEROS", "Accumulation"]

FILLS_WITH_ZEROS = hasattr(FSDPModule, "set_reduce_scatter_unused_params")
"""From torch 2.13. Before it, micro-batches of different sources reduce different parts of one unit, which
cannot be added up before the all-reduce: replicas are then reduced in each micro-batch."""


class Accumulation:
    """Turns FSDP's switches; :meth:`begin` comes first in a step.

    Args:
        gather: ``reshard`` or ``keep``, see ``train.gather``.
    """

    def __init__(self, model: SpectraNet, world: World, gather: str = "reshard") -> None:
        self.keep = gather == "keep"
        self.defer = FILLS_WITH_ZEROS and replicas_of(world.mesh) > 1
        self.root: FSDPModule = model  # type: ignore[assignment]
        self.towers = {name: _units(*_tower(model, name)) for name in model.encoders}
        in_towers = {id(unit) for units in self.towers.values() for unit in units}
        self.everywhere = [unit for unit in _units(model) if id(unit) not in in_towers]
        self.units = _units(model)
        self.alone = {id(unit) for unit in self.units if getattr(unit, "full_precision", False)}
        self.used: list[set[int]] = []
        self.last_use: Mapping[int, int] = {}
        self._turned: dict[tuple[int, str], bool] = {}

    def begin(self, batches: Sequence[Batch]) -> None:
        """Of a step: which units its micro-batches use, and when for the last time."""
        everywhere = {id(unit) for unit in self.everywhere}
        self.used = [
            everywhere | {id(unit) for name in batch.modalities for unit in self.towers[name]}
            for batch in batches
        ]
        self.last_use = {unit: index for index, used in enumerate(self.used) for unit in used}
        self._let_go_after_forward(not self.keep)

    def before_global_backward(self) -> None:
        """The loss over the global batch reaches its objectives' own parameters, the same on all ranks."""
        for unit in self.units:
            self._turn(unit, "reduce_scatter_unused_params", False)
            self._turn(unit, "requires_all_reduce", True)
            self._turn(unit, "reshard_after_backward", False)

    def before_backward(self, index: int) -> None:
        """Of the step's micro-batch ``index``."""
        used = self.used[index]
        for unit in self.units:
            done = index >= self.last_use.get(id(unit), 0)
            # A scale, sharded on its own, is used by all ranks or by none, and reduced where it is used.
            alone = id(unit) in self.alone
            self._turn(unit, "reduce_scatter_unused_params", id(unit) in used and not alone)
            self._turn(unit, "requires_all_reduce", done or alone or not self.defer)
            self._turn(unit, "reshard_after_backward", done or not self.keep)
        if index == len(self.used) - 1:
            # Whoever runs the model between steps leaves nothing gathered.
            self._let_go_after_forward(True)

    def _let_go_after_forward(self, let_go: bool) -> None:
        for unit in self.units:
            if unit is not self.root:  # FSDP keeps the root's from its forward to its backward anyway
                self._turn(unit, "reshard_after_forward", let_go)

    def _turn(self, unit: FSDPModule, switch: str, on: bool) -> None:
        if switch == "reduce_scatter_unused_params" and not FILLS_WITH_ZEROS:
            return
        if self._turned.get((id(unit), switch)) != on:
            getattr(unit, f"set_{switch}")(on, recurse=False)
            self._turned[id(unit), switch] = on


def _tower(model: SpectraNet, modality: str) -> list[nn.Module]:
    """What only samples with this modality run through; a trunk may be part of several towers."""
    encoder, trunk = model.encoders[modality], model.trunk_of.get(modality)
    return [encoder] if trunk is None else [encoder, model.trunks[trunk]]


def _units(*modules: nn.Module) -> list[FSDPModule]:
    return [unit for module in modules for unit in module.modules() if isinstance(unit, FSDPModule)]
