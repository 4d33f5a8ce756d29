"""What the contract asks of parameters and buffers: built on the meta device, filled, trained, saved."""

from __future__ import annotations

import io

import torch
from torch import nn

from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase, projected, sample_difference
from spectranet.testing.modality.tower import Rubbish, built, tensors_of

__all__ = ["WeightClauses"]

_NAN: Rubbish = float("nan"), 7
_LARGE: Rubbish = 3e4, 8


class WeightClauses(ModalityCase):
    """Of the encoder, its trunk and the target head."""

    @clause
    def test_meta_build_takes_no_storage(self) -> None:
        """Trunk, encoder and target head are built on the meta device: every parameter and buffer is there by
        its shape alone. The encoder does not keep the trunk, which others share.

        A model of any size is planned so. Make tensors by ``torch.empty`` and the like, without ``device=``
        and not from numpy, and fill them in ``init_weights``.
        """
        tower = built(self.modality(), self.config(), self.trunk_config())
        for part, module in tower.parts().items():
            real = [name for name, tensor in tensors_of(module).items() if not tensor.is_meta]
            require(not real, f"built on the meta device, {part} has storage for {_some(real)}")
        if tower.trunk is not None:
            of_trunk = {id(tensor) for tensor in tensors_of(tower.trunk).values()}
            kept = [name for name, tensor in tensors_of(tower.encoder).items() if id(tensor) in of_trunk]
            require(not kept, f"the encoder keeps {_some(kept)} of the trunk; it gets the trunk in forward")

    @clause
    def test_init_fills_everything(self) -> None:
        """``init_weights()`` fills every parameter and every buffer with finite numbers, and leaves names,
        shapes and the count of parameters as they were on the meta device.

        Materialising leaves whatever was in memory. Here that is NaN once and 30,000 once; what is still to
        be seen, or differs between the two, was not filled. Buffers that a constructor computes must be
        computed again.
        """
        planned = built(self.modality(), self.config(), self.trunk_config())
        towers = [self.new_tower(0, rubbish) for rubbish in (_NAN, _NAN, _LARGE)]
        for part, module in planned.parts().items():
            first, again, second = (tensors_of(tower.parts()[part]) for tower in towers)
            wrong = [name for name, tensor in first.items() if not tensor.isfinite().all()]
            require(not wrong, f"{part}: not filled, or not finite: {_some(wrong)}")
            # What differs also over the same rubbish is drawn without the seed, which is another clause's.
            seeded = {name: tensor for name, tensor in first.items() if tensor.equal(again[name])}
            wrong = [name for name, tensor in seeded.items() if not tensor.equal(second[name])]
            require(not wrong, f"{part}: filled in part, or made of what was there: {_some(wrong)}")
            shapes, planned_shapes = (
                {n: t.shape for n, t in of.items()} for of in (first, tensors_of(module))
            )
            counts = [sum(p.numel() for p in of.parameters()) for of in (towers[0].parts()[part], module)]
            found = f"{part}: {counts[0]:,} parameters after init_weights, {counts[1]:,} on the meta device"
            require(counts[0] == counts[1], found)
            require(shapes == planned_shapes, f"{found}, and names or shapes of them or of buffers differ")

    @clause
    def test_init_is_seeded(self) -> None:
        """The same seed gives the same weights, drawn from torch's global generator and nothing else.

        Initialised twice after ``torch.manual_seed`` with the same number. So weights are the same on every
        rank and for every number of ranks.
        """
        for part, module in self.new_tower().parts().items():
            again = tensors_of(self.tower().parts()[part])
            differing = [name for name, tensor in tensors_of(module).items() if not tensor.equal(again[name])]
            require(not differing, f"{part}: the same seed gives other values of {_some(differing)}")

    @clause
    def test_every_parameter_learns(self) -> None:
        """Every parameter of encoder, trunk and target head that requires a gradient receives one, and it is
        finite.

        The gradient is that of a random projection of all valid tokens and pooled vectors, and of the head's
        loss. Parameters of a trunk that only other modalities use are named in ``trunk_unused``. Drop what is
        not used, or say ``requires_grad_(False)``.
        """
        tower, batch = self.new_tower(), self.batch()
        (projected(tower(batch)) + tower.target_loss(batch).sum).backward()
        unused = {f"trunk.{name}" for name in self.trunk_unused}
        trained = {n: p for n, p in tower.named_parameters() if p.requires_grad}
        require(
            unused <= trained.keys(),
            f"trunk_unused names {_some(sorted(unused - trained.keys()))}, not there",
        )
        without = [name for name, p in trained.items() if p.grad is None and name not in unused]
        require(not without, f"no gradient at {_some(without)}")
        wrong = [n for n, p in trained.items() if p.grad is not None and not p.grad.isfinite().all()]
        require(not wrong, f"a gradient that is not finite at {_some(wrong)}")

    @clause
    def test_state_dict_round_trips(self) -> None:
        """A state dict, saved and loaded into a network of another seed, gives the same tensors, the same
        tokens and the same loss of the target head, bit for bit.

        What a forward uses is in parameters, in persistent buffers, or the same after every ``init_weights``.
        """
        tower, other = self.tower(), self.new_tower(seed=1)
        file = io.BytesIO()
        torch.save(tower.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True), strict=True)
        state = other.state_dict()
        differing = [name for name, tensor in tower.state_dict().items() if not tensor.equal(state[name])]
        require(not differing, f"after loading other values of {_some(differing)}")
        batch = self.batch()
        with torch.no_grad():
            expected, found = tower(batch), other(batch)
            losses = [float(each.target_loss(batch).sum) for each in (tower, other)]
        for row in range(len(expected.valid_BN)):
            apart = sample_difference(found, row, expected, row)
            require(apart == 0, f"tokens of sample {row} differ by {apart:.1e} of the largest after loading")
        require(
            losses[0] == losses[1], f"the head's loss is {losses[0]:.6g}, and {losses[1]:.6g} after loading"
        )

    @clause
    def test_shard_units_occur(self) -> None:
        """``shard_units()`` gives classes of modules that occur in the encoder or its trunk: what FSDP
        gathers and what activation checkpointing computes again one by one, mostly the blocks.

        The network is built with the test's ``options`` and searched for them; an empty tuple says that the
        whole is one unit. Return the classes, ``(Block,)``, not their names nor instances.
        """
        tower, units = self.tower(), self.modality().shard_units()
        kinds = all(isinstance(unit, type) and issubclass(unit, nn.Module) for unit in units)
        require(isinstance(units, tuple) and kinds, f"it gave {units!r}, not a tuple of module classes")
        found = sum(isinstance(module, units) for module in tower.modules())
        require(found > 0 or not units, f"none of {', '.join(unit.__name__ for unit in units)} occurs")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown
