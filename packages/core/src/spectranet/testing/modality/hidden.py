"""What the contract asks of hidden tokens: the encoder must not see them.

Shape suffixes: B samples, N tokens, V visible, H hidden tokens, E elements of one sample in one tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spectranet.contracts import Encoded, ModalityBatch
from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase, projected, rows_of, sample_difference

__all__ = ["HiddenClauses"]

_MOST_ELEMENTS = 4096
"""Of one sample: as many forwards show which of them matter."""
_AT_ONCE = 64
_SAME = 1e-6


class HiddenClauses(ModalityCase):
    """What is hidden stays hidden."""

    @clause
    def test_hidden_tokens_are_invisible(self) -> None:
        """Nothing of a hidden token reaches the visible tokens or the pooled vector: with other content at
        hidden tokens they stay the same.

        Half of the tokens are hidden, and ``disturb_hidden`` puts other content there. Where a tensor of
        ``data`` is (B, N, …), that is other tokens' content. Of any other tensor with at least N numbers a
        sample, such as pixels or a waveform, the numbers that belong to hidden tokens are found by showing
        the hidden tokens and hiding the rest: what matters then, by gradient or by trying each, must not
        matter now. Smaller tensors, such as a length, are taken for no content. If your data fit none of
        this, override ``disturb_hidden``. Drop hidden tokens, or put a learned embedding in their place,
        before anything mixes tokens; where windows overlap, silence what a hidden one covers.
        """
        for batch in self._half_hidden():
            disturbed = self.disturb_hidden(batch)
            whole, whole_disturbed = _all_visible(batch), replace(_all_visible(batch), data=disturbed.data)
            noticed = _apart(self.encode(whole), self.encode(whole_disturbed))
            require(
                noticed > _SAME,
                "other content at hidden tokens changes nothing even while nothing is hidden, so that this "
                "cannot be checked; override disturb_hidden(batch)",
            )
            apart = _apart(self.encode(batch), self.encode(disturbed))
            share = f"{batch.hidden_BH.shape[1]} hidden of {batch.valid_BN.shape[1]} tokens"
            found = f"with other content at {share} visible ones change by {apart:.1e} of the largest"
            require(apart <= _SAME, f"{found} (by {noticed:.1e} with nothing hidden)")

    def disturb_hidden(self, batch: ModalityBatch) -> ModalityBatch:
        """The batch with other content, as legal as the old, in ``data`` at hidden tokens and only there."""
        tokens = batch.valid_BN.shape[1]
        hidden_BN = torch.zeros_like(batch.valid_BN)
        for row in range(len(hidden_BN)):
            hidden_BN[row, batch.hidden_BH[row, batch.hidden_valid_BH[row]]] = True
        data = dict(batch.data)
        for name, tensor in batch.data.items():
            if tensor.ndim > 1 and tensor.shape[1] == tokens:
                data[name] = _with_other_tokens(tensor, hidden_BN, batch.valid_BN)
            elif tensor[0].numel() >= tokens:
                theirs = _elements_that_matter(self.tower(), _swapped(batch), name)
                data[name] = _with_other_numbers(tensor, theirs)
        return replace(batch, data=data)

    @classmethod
    def _half_hidden(cls) -> list[ModalityBatch]:
        """Samples one by one: padding repeats the first token, hidden or not, and is another clause's."""
        sample_mask = cls.modality().sample_mask
        several = any(len(view.hidden_N) > 1 for view in cls.views())
        cls.only_where(several, "every example is a single token")
        views = [
            replace(view, hidden_N=sample_mask(view.values, 0.5, np.random.default_rng(i)))
            for i, view in enumerate(cls.views())
        ]
        mixed = [view for view in views if 0 < view.hidden_N.sum() < len(view.hidden_N)]
        require(mixed, "sample_mask hides, at a ratio of 0.5, none or all tokens of every example")
        return [cls.batch([view]) for view in mixed]


def _apart(one: Encoded, other: Encoded) -> float:
    return max(sample_difference(other, row, one, row) for row in range(len(one.valid_BN)))


def _swapped(batch: ModalityBatch) -> ModalityBatch:
    """What was visible is hidden, what was hidden is visible."""
    return replace(
        batch,
        visible_BV=batch.hidden_BH,
        visible_valid_BV=batch.hidden_valid_BH,
        hidden_BH=batch.visible_BV,
        hidden_valid_BH=batch.visible_valid_BV,
    )


def _all_visible(batch: ModalityBatch) -> ModalityBatch:
    place_BN = torch.arange(batch.valid_BN.shape[1]) * batch.valid_BN
    nothing_B0 = place_BN[:, :0]
    return replace(
        batch,
        visible_BV=place_BN,
        visible_valid_BV=batch.valid_BN,
        hidden_BH=nothing_B0,
        hidden_valid_BH=nothing_B0.bool(),
    )


def _with_other_tokens(tensor: Tensor, hidden_BN: Tensor, valid_BN: Tensor) -> Tensor:
    """Content of random valid tokens of the batch at the hidden ones."""
    pool = tensor[valid_BN]
    drawn = torch.randint(len(pool), (int(hidden_BN.sum()),), generator=torch.Generator().manual_seed(0))
    changed = tensor.clone()
    changed[hidden_BN] = pool[drawn]
    return changed


def _with_other_numbers(tensor: Tensor, chosen: Tensor) -> Tensor:
    """Numbers from random places of the tensor at the chosen ones."""
    pool = tensor.flatten()
    drawn = torch.randint(len(pool), tensor.shape, generator=torch.Generator().manual_seed(0))
    return torch.where(chosen, pool[drawn], tensor)


def _elements_that_matter(
    encode: Callable[[ModalityBatch], Encoded], batch: ModalityBatch, name: str
) -> Tensor:
    """bool, shaped like ``data[name]``: which of its numbers have an influence on the visible tokens."""
    by_gradient = _by_gradient(encode, batch, name)
    if by_gradient is not None and by_gradient.any():
        return by_gradient
    if batch.data[name][0].numel() > _MOST_ELEMENTS:
        return torch.zeros_like(batch.data[name], dtype=torch.bool)
    return torch.cat([_by_trial(encode, rows_of(batch, r, r + 1), name) for r in range(len(batch.valid_BN))])


def _by_gradient(
    encode: Callable[[ModalityBatch], Encoded], batch: ModalityBatch, name: str
) -> Tensor | None:
    """Those with a gradient, None where an encoder does not take the tensor as floating point."""
    numbers = batch.data[name].detach().float().requires_grad_()
    try:
        total = projected(encode(replace(batch, data={**batch.data, name: numbers})))
    except (RuntimeError, TypeError, IndexError):  # ids do not index as floating point
        return None
    if not total.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(total, numbers, allow_unused=True)
    return None if gradient is None else gradient != 0


@torch.no_grad()
def _by_trial(encode: Callable[[ModalityBatch], Encoded], batch: ModalityBatch, name: str) -> Tensor:
    """Those of one sample that, one at a time, make a difference where another number is put."""
    whole = batch.data[name]
    before = encode(batch)
    elements = whole.numel()
    other_E = whole.flatten()[torch.randperm(elements, generator=torch.Generator().manual_seed(0))]
    matters = []
    for start in range(0, elements, _AT_ONCE):
        places = torch.arange(start, min(start + _AT_ONCE, elements))
        many = _repeated(batch, len(places))
        tried = many.data[name].flatten(1)
        tried[torch.arange(len(places)), places] = other_E[places]
        many.data[name] = tried.view(len(places), *whole.shape[1:])
        encoded = encode(many)
        matters += [sample_difference(encoded, row, before, 0) > _SAME for row in range(len(places))]
    return torch.tensor(matters).view(whole.shape)


def _repeated(batch: ModalityBatch, count: int) -> ModalityBatch:
    many = [batch] * count
    joined = {
        name: torch.cat([getattr(one, name) for one in many])
        for name, value in vars(batch).items()
        if isinstance(value, Tensor)
    }
    data = {name: torch.cat([tensor] * count) for name, tensor in batch.data.items()}
    return ModalityBatch(data=data, **joined)
