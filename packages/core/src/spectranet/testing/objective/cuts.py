"""Is an objective's loss the same however the samples of a step are padded, ordered, cut and spread?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from spectranet.contracts import Encoded, Loss, ModalityBatch, Queries, Rows
from spectranet.testing.clause import clause, require
from spectranet.testing.objective.case import ObjectiveCase, require_finite
from spectranet.testing.objective.losses import Trial, gradients_at, number, total_of
from spectranet.testing.objective.ranks import step_on_ranks
from spectranet.testing.objective.samples import Shown, take, with_modalities

__all__ = ["ObjectiveCuts"]

_GARBAGE = 1e3
_PADDING = 3


class ObjectiveCuts(ObjectiveCase):
    """Clauses about which samples, tokens and rows there are."""

    @clause
    def test_padded_places_cost_nothing(self) -> None:
        """What stands at padded tokens and padded queries changes no loss, and no gradient flows there.

        Data, positions, segments, encodings and states are filled with garbage wherever the masks say that
        nothing is. Replace such places (``masked_fill``, ``select_tokens``) before what spreads them.
        """
        trial, shown = self.trial(), self.shown(padding=_PADDING)
        clean, dirty = trial.losses([shown]), _dirty(trial).losses([spoilt := _with_garbage(shown)])
        self._require_same("garbage at padded places", clean, dirty)
        for name, gradient in gradients_at(total_of(dirty), spoilt.leaves()).items():
            if name.startswith("tokens"):
                invalid_BV = ~spoilt.encoded[name.removeprefix("tokens of ")].valid_BN
                most = float(gradient[invalid_BV].abs().sum())
                require(most == 0, f"the gradient at padded {name} is {most:.3g}, not 0")
        shorter = self.trial().losses([_encoded_alike(self.shown(), shown)])
        self._require_same(f"{_PADDING} padded tokens more", shorter, clean)

    @clause
    def test_samples_in_any_order(self) -> None:
        """The order of the samples of a batch, or of the rows of a step, does not matter.

        Rows of different names come in orders of their own: who belongs together is said by ``ids_RI``.
        """
        trial, shown = self.trial(), self.shown()
        straight, mixed = trial.losses([shown]), trial.losses([take(shown, [2, 0, 3, 1])])
        self._require_same("the samples in another order", straight, mixed)
        if trial.over_global_batch:
            rows = trial.rows([shown])
            for name, one in rows.items():
                mixed = trial.module.global_loss({**rows, name: _reversed(one)})
                self._require_same(f"the rows of '{name}' in reverse", straight, mixed)

    @clause
    def test_micro_batches_add_up(self) -> None:
        """Losses and gradients are those of the full batch for every way of cutting it into micro-batches.

        A local objective returns sums over its samples, never means, and looks at one sample at a time: what
        compares samples needs the global batch (``needs_global_batch=True``). There a sample's ``embeddings``
        do not depend on its batch-mates, and the loss is that of all rows, whichever micro-batch they are of.
        """
        trial, shown = self.trial(), self.shown()
        leaves = shown.leaves() | trial.own_parameters()
        whole = trial.losses([shown])
        gradients = gradients_at(total_of(whole), leaves)
        for cut in ([[0, 1], [2, 3]], [[0], [1], [2], [3]]):
            parts = [take(shown, rows) for rows in cut]
            what = f"{len(cut)} micro-batches instead of 1"
            if trial.over_global_batch:
                self._require_same_rows(what, trial.rows([shown]), trial.rows(parts))
            losses = trial.losses(parts)
            self._require_same(what, whole, losses)
            found = gradients_at(total_of(losses), leaves)
            for name, gradient in found.items():
                error = float((gradient - gradients[name]).norm())
                size = float(gradients[name].norm())
                near = error <= self.rtol * size + 1e-9
                require(near, f"{what}: the gradient at {name} is off by {error:.3g} of {size:.3g}")

    @clause
    def test_loss_is_the_same_on_two_ranks(self) -> None:
        """Two ranks with half of the samples each get the losses and gradients of one with all of them.

        A model with encoders of the kit and this objective is sharded with FSDP2 over two processes and taken
        through the core's own step, two micro-batches on each rank.
        """
        found = step_on_ranks(type(self), self.shown())
        for term, (one, two) in found["losses"].items():
            near = abs(one - two) <= self.rtol * max(abs(one), 1e-6)
            require(near, f"'{term}' is {one:.7g} on one rank and {two:.7g} on two")
        for name, (error, size) in found["gradients"].items():
            near = error <= self.rtol * size + 1e-7
            require(
                near, f"the gradient at {name} differs by {error:.3g} of {size:.3g} between 1 and 2 ranks"
            )

    @clause
    def test_nothing_to_ask_costs_nothing(self) -> None:
        """Where nothing applies a loss is left out, or is a zero with weight 0 and gradient 0; never NaN.

        Tried are batches with nothing hidden, with everything hidden, with samples of one token, with a
        sample that has no token, with none in any sample, and, of an objective over the global batch, no
        rows.
        """
        trial = self.trial()
        cases: dict[str, dict[str, Any]] = {
            "nothing hidden": {"hidden": "none"},
            "everything hidden": {"hidden": "all"},
            "samples of one token": {"lengths": (1,)},
            "samples of one token, hidden": {"lengths": (1,), "hidden": "all"},
            "a sample without tokens": {"lengths": (6, 0, 4, 1)},
            "no token in any sample": {"lengths": (0,), "padding": 2},
        }
        for what, batch in cases.items():
            shown = self.shown(**batch)
            self._require_nothing_for_nothing(trial, what, shown)
            for row in range(len(shown.batch)):
                self._require_nothing_for_nothing(trial, f"{what}, one sample alone", take(shown, [row]))
        empty = self.shown(lengths=(0,), padding=2)
        if trial.over_global_batch:
            rows = {name: _first(one, 0) for name, one in trial.rows([self.shown()]).items()}
            for what, some in (("no rows at all", {}), ("no row of any name", rows)):
                self._require_zero(what, trial.module.global_loss(some))
        else:
            weights = {term: number(weight) for term, weight in trial.module.weights(empty.batch).items()}
            require(not any(weights.values()), f"without any token the announced weights are {weights}")

    @clause
    def test_batch_without_a_modality_is_skipped(self) -> None:
        """A batch that lacks a modality is no error: sources differ in what their samples have.

        Every set of the kit's modalities is tried as a batch of its own; terms that lack what they need are
        left out or have weight 0.
        """
        trial, shown = self.trial(), self.shown()
        names = sorted(shown.batch.modalities)
        for size in range(1, len(names)):
            for some in combinations(names, size):
                what = f"with {' and '.join(some)} alone"
                self._require_nothing_for_nothing(trial, what, with_modalities(shown, some))
                mixed = trial.losses([take(shown, [0, 1]), with_modalities(take(shown, [2, 3]), some)])
                require_finite(f"half of the samples {what}", mixed)

    def _require_same_rows(self, what: str, whole: Mapping[str, Rows], cut: Mapping[str, Rows]) -> None:
        """Whatever their order: an identity belongs to one row of each name."""
        for name, one in whole.items():
            index = one.ids_RI.unsqueeze(0) == cut[name].ids_RI.unsqueeze(1)
            found = index.all(-1).float()
            require(
                bool((found.sum(1) == 1).all()), f"with {what} the ids of '{name}' are others, or not unique"
            )
            moved = one.vectors_RE[found.argmax(1)]
            error, size = number((moved - cut[name].vectors_RE).norm()), number(moved.norm())
            require(
                error <= self.rtol * size,
                f"with {what} the rows of '{name}' are off by {error:.3g} of {size:.3g}",
            )

    def _require_nothing_for_nothing(self, trial: Trial, what: str, shown: Shown) -> None:
        """No NaN anywhere, and no loss where the weight is 0."""
        losses = trial.losses([shown])
        require_finite(what, losses)
        self._require_zero(what, {t: loss for t, loss in losses.items() if number(loss.weight) == 0})
        everything = torch.stack([loss.sum for loss in losses.values()]).sum() if losses else torch.zeros(())
        leaves = shown.leaves() | trial.own_parameters()
        for name, gradient in gradients_at(everything, leaves).items():
            require(torch.isfinite(gradient).all(), f"{what}: the gradient at {name} is not finite")

    @staticmethod
    def _require_zero(what: str, losses: Mapping[str, Loss]) -> None:
        for term, loss in losses.items():
            value, weight = number(loss.sum), number(loss.weight)
            require(
                value == 0 and weight == 0, f"{what}: '{term}' is {value:g} with weight {weight:g}, not 0"
            )

    def _require_same(self, what: str, expected: Mapping[str, Loss], found: Mapping[str, Loss]) -> None:
        terms = [
            {term for term, loss in losses.items() if number(loss.weight)} for losses in (expected, found)
        ]
        require(terms[0] == terms[1], f"with {what} the terms are {sorted(terms[1])}, not {sorted(terms[0])}")
        for term in sorted(terms[0]):
            for kind in ("sum", "weight"):
                right, now = (number(getattr(losses[term], kind)) for losses in (expected, found))
                near = abs(right - now) <= self.rtol * max(abs(right), 1e-6)
                require(near, f"with {what} the {kind} of '{term}' is {now:.7g}, not {right:.7g}")


def _dirty(trial: Trial) -> Trial:
    def spoil(states_BQD: Tensor, queries: Queries) -> Tensor:
        return states_BQD.masked_fill(~queries.valid_BQ.unsqueeze(-1), _GARBAGE)

    return replace(trial, change=spoil)


def _with_garbage(shown: Shown) -> Shown:
    modalities = {name: _spoilt_modality(one) for name, one in shown.batch.modalities.items()}
    encoded = {name: _spoilt_encoding(one) for name, one in shown.encoded.items()}
    return Shown(replace(shown.batch, modalities=modalities), encoded)


def _spoilt_modality(one: ModalityBatch) -> ModalityBatch:
    invalid_BN = ~one.valid_BN

    def spoil(tensor: Tensor) -> Tensor:
        if tensor.shape[:2] != invalid_BN.shape:
            return tensor
        where = invalid_BN.reshape(*invalid_BN.shape, *(1,) * (tensor.ndim - 2))
        # ids stay within the vocabulary: collate pads with some of it
        return tensor.masked_fill(where, _GARBAGE if tensor.is_floating_point() else 1)

    return replace(
        one,
        data={name: spoil(tensor) for name, tensor in one.data.items()},
        position_BNP=one.position_BNP.masked_fill(invalid_BN.unsqueeze(-1), 77),
        segment_BN=one.segment_BN.masked_fill(invalid_BN, 2 if (one.segment_BN >= 0).any() else -1),
    )


def _spoilt_encoding(one: Encoded) -> Encoded:
    invalid_BV = ~one.valid_BN
    return replace(
        one,
        tokens_BND=one.tokens_BND.detach().masked_fill(invalid_BV.unsqueeze(-1), _GARBAGE).requires_grad_(),
        position_BNP=one.position_BNP.masked_fill(invalid_BV.unsqueeze(-1), 77),
        segment_BN=one.segment_BN.masked_fill(invalid_BV, 2 if (one.segment_BN >= 0).any() else -1),
        pooled_BD=one.pooled_BD.detach().requires_grad_(),
    )


def _encoded_alike(shorter: Shown, longer: Shown) -> Shown:
    """``shorter`` with the encodings of ``longer``, which has padding at its end."""
    encoded = {
        name: replace(
            one,
            tokens_BND=longer.encoded[name].tokens_BND[:, : one.tokens_BND.shape[1]],
            pooled_BD=longer.encoded[name].pooled_BD,
        )
        for name, one in shorter.encoded.items()
    }
    return Shown(shorter.batch, encoded)


def _reversed(rows: Rows) -> Rows:
    return Rows(rows.vectors_RE.flip(0), rows.ids_RI.flip(0))


def _first(rows: Rows, count: int) -> Rows:
    return Rows(rows.vectors_RE[:count], rows.ids_RI[:count])
