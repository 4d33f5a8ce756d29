"""Are an objective's losses numbers that a step can descend?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError, gradcheck

from spectranet.contracts import Loss, Rows
from spectranet.testing.clause import clause, require
from spectranet.testing.objective.case import ObjectiveCase, require_finite
from spectranet.testing.objective.losses import Trial, gradients_at, number, total_of
from spectranet.testing.objective.samples import Shown, at_least_fp32, take

__all__ = ["ObjectiveLoss"]

_MANY = 256
"""Samples whose sum in bf16 would be off by more than the tolerance."""

_LARGE = 1e4
_STEPS = 10


class ObjectiveLoss(ObjectiveCase):
    """Clauses about the numbers of one batch."""

    @clause
    def test_loss_is_a_sum_and_a_weight(self) -> None:
        """Each loss is of one of the ``terms``: a scalar sum of at least fp32, finite, and a weight of 0 or
        more; its metrics are numbers or 0-D tensors.

        On a batch with all modalities of the kit every term must occur with a weight above 0, or the other
        clauses would hold for want of anything to check.
        """
        trial, shown = self.trial(), self.shown()
        losses = _said(trial, shown)
        terms = set(trial.module.terms)
        require(set(losses) <= terms, f"not in terms: {', '.join(sorted(set(losses) - terms))}")
        for term, loss in losses.items():
            _require_scalar(term, loss.sum)
            weight = number(loss.weight)
            require(math.isfinite(weight) and weight >= 0, f"the weight of '{term}' is {weight}")
            for name, value in loss.metrics.items():
                whole = value.ndim == 0 if isinstance(value, Tensor) else isinstance(value, float | int)
                require(whole, f"metric '{name}' of '{term}' is no number: {value!r}")
        require_finite("an ordinary batch", losses)
        occurring = {term for term, loss in losses.items() if number(loss.weight) > 0}
        silent = sorted(terms - occurring)
        require(not silent, f"nothing on a batch with every modality of the kit: {', '.join(silent)}")

    @clause
    def test_weight_is_announced(self) -> None:
        """``weights(batch)`` gives, from data alone, the weight that ``loss`` gives to each term that occurs.

        The core sums the announced weights over all ranks before the first forward, and divides by them.
        Terms with weight 0 may be left out of either.
        """
        self.only_local()
        trial = self.trial()
        for hidden in ("some", "none", "all"):
            shown = self.shown(hidden=hidden)
            announced = {t: number(w) for t, w in trial.module.weights(shown.batch).items() if number(w)}
            given = {t: number(loss.weight) for t, loss in trial.local(shown).items() if number(loss.weight)}
            require(
                announced.keys() == given.keys() and all(_near(announced[t], given[t], 1e-6) for t in given),
                f"with {hidden} of the tokens hidden, weights() announces {_listed(announced)}"
                f" and loss() gives {_listed(given)}",
            )

    @clause
    def test_loss_draws_nothing(self) -> None:
        """The same batch has the same losses, whatever the state of torch's generator.

        What is random belongs into the data (masks are drawn with it): the two passes of a step must see the
        same, and so must every way of cutting it. Dropout is 0 in pre-training.
        """
        trial, shown = self.trial(), self.shown()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            one = trial.losses([shown])
            torch.manual_seed(2)
            other = trial.losses([shown])
        for term, loss in one.items():
            a, b = number(loss.sum), number(other[term].sum)
            require(a == b, f"'{term}' is {a!r}, and {b!r} when it is computed again")

    @clause
    def test_loss_accumulates_in_fp32(self) -> None:
        """Sums are taken in at least fp32, also of bf16 inputs.

        In bf16 sums of many terms stop growing. The module and its inputs are cast to bf16; on many samples
        the loss must be that of a float64 copy on the same inputs within ``bf16_rtol``, and must not be a sum
        that was rounded to bf16. Sum ``x.float()``, or ``x.sum(dtype=torch.float32)``.
        """
        trial = self.trial().in_dtype(torch.bfloat16)
        exact = trial.in_dtype(torch.float64)
        rounded: dict[str, list[bool]] = {}
        most = self.shown(_MANY, dtype=torch.bfloat16)
        for samples in (_MANY, _MANY - 1, _MANY - 5):
            shown = take(most, range(samples))
            with torch.no_grad():
                found, expected = _both(trial, exact, shown)
            for term, loss in found.items():
                _require_scalar(term, loss.sum)
                value, right = number(loss.sum), number(expected[term].sum)
                require(
                    _near(value, right, self.bf16_rtol),
                    f"'{term}' over {samples} samples is {value:.6g} of bf16 inputs, {right:.6g} of the same"
                    f" in float64; that is more than {self.bf16_rtol:g} relative",
                )
                rounded.setdefault(term, []).append(value != 0 and value == number(loss.sum.bfloat16()))
        for term, times in rounded.items():
            require(not all(times), f"each sum of '{term}' is a number of bf16: it was rounded to that")

    @clause
    def test_loss_passes_gradcheck(self) -> None:
        """In float64 the gradient at parameters, encodings and states agrees with finite differences.

        ``torch.autograd.gradcheck`` in its fast mode, at one tensor after another. What computes in fp32 for
        precision's sake must leave float64 as it is: ``x.to(torch.promote_types(x.dtype, torch.float32))``
        where ``x.float()`` would round. Encodings that the loss detaches are named in ``detached``, and must
        then get no gradient.
        """
        trial, shown = self.trial().in_dtype(torch.float64), self.shown(dtype=torch.float64)
        leaves = shown.leaves()
        detached = {name: leaves.pop(name) for name in self.detached}
        if detached:
            reached = gradients_at(total_of(trial.losses([shown])), detached)
            astray = [name for name, gradient in reached.items() if gradient.any()]
            require(not astray, f"named in `detached`, yet with a gradient: {', '.join(astray)}")
        if trial.over_global_batch:
            for name, one in trial.module.embeddings(shown.encoded, shown.batch).items():
                _require_float64(f"rows of '{name}'", one.vectors_RE)
            rows = {
                name: Rows(one.vectors_RE.detach().requires_grad_(), one.ids_RI)
                for name, one in trial.rows([shown]).items()
            }
            at_rows = {f"rows of {name}": one.vectors_RE for name, one in rows.items()}
            own = trial.own_parameters()
            _gradcheck(at_rows | own, lambda: _mixture(trial.module.global_loss(rows)))
            _gradcheck(leaves | own, lambda: _mixture_of_rows(trial.rows([shown])))
        else:
            for term, loss in trial.local(shown).items():
                _require_float64(f"the sum of '{term}'", loss.sum)
            _gradcheck(leaves | trial.own_parameters(), lambda: _mixture(trial.losses([shown])))
            states = trial.states(shown)
            if states is not None:
                leaf = states.detach().requires_grad_()
                _gradcheck(
                    {"states": leaf},
                    lambda: _mixture(trial.module.loss(leaf, shown.encoded, shown.batch)),
                )

    @clause
    def test_extreme_inputs_stay_finite(self) -> None:
        """Losses and gradients are finite at extreme inputs: 10,000 times as large, all alike, all zero.

        Use ``log_softmax``, ``logsumexp`` and ``softplus`` for what would overflow step by step, and a guard
        inside a square root or a normalisation.
        """
        trial = self.trial()
        cases: dict[str, Callable[[Tensor], Tensor]] = {
            "inputs 10,000 times as large": lambda x: x * _LARGE,
            "samples that are all alike": lambda x: x[:1].expand_as(x) if len(x) else x,
            "tokens that are all alike": lambda x: torch.ones_like(x),
            "inputs of zeros": torch.zeros_like,
        }
        for what, change in cases.items():
            changed = Trial(
                trial.module, trial.over_global_batch, trial.answers, lambda x, _, change=change: change(x)
            )
            shown = _with_encodings(self.shown(), change)
            losses = changed.losses([shown])
            require_finite(what, losses)
            leaves = shown.leaves() | trial.own_parameters()
            for name, gradient in gradients_at(total_of(losses), leaves).items():
                require(torch.isfinite(gradient).all(), f"{what}: the gradient at {name} is not finite")

    @clause
    def test_ten_steps_reduce_the_loss(self) -> None:
        """Ten optimizer steps on one batch reduce the loss.

        AdamW with a learning rate of 0.02 on the module's parameters, on what the encoders gave and on who
        answers; ``after_step`` is called after each step.
        """
        trial, shown = self.trial(), self.shown()
        trained = [*shown.leaves().values(), *trial.module.parameters(), *trial.answers.parameters()]
        optimizer = torch.optim.AdamW(trained, lr=0.02)
        history = []
        for step in range(_STEPS + 1):
            total = total_of(trial.losses([shown]))
            history.append(number(total.detach()))
            if step < _STEPS:
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
                with torch.no_grad():
                    getattr(trial.module, "after_step", lambda: None)()
        least = 1e-3 * abs(history[0])
        path = ", ".join(f"{value:.4g}" for value in history)
        require(history[-1] < history[0] - least, f"the loss before and after each step: {path}")

    @clause
    def test_after_step_keeps_the_parameters(self) -> None:
        """``after_step()``, where there is one, changes values in place: the optimizer holds the parameters.

        It takes no argument, and leaves everything finite.
        """
        module = self.build()
        self.only_where(hasattr(module, "after_step"), "it has no after_step")
        before = dict(module.named_parameters())
        kinds = {name: (one.shape, one.dtype) for name, one in before.items()}
        with torch.no_grad():
            module.after_step()
        after = dict(module.named_parameters())
        same = [name for name in before if before[name] is after.get(name)]
        kept = [name for name in same if kinds[name] == (after[name].shape, after[name].dtype)]
        changed = sorted((before.keys() | after.keys()) - set(kept))
        require(not changed, f"other parameters than before: {', '.join(changed)}")
        odd = [name for name, one in module.named_parameters() if not torch.isfinite(one).all()]
        require(not odd, f"not finite after it: {', '.join(odd)}")

    @clause
    def test_heads_flops_are_counted(self) -> None:
        """``flops(batch)``, where there is one, is within 10 % of what torch counts in the module's forward.

        Counted with ``FlopCounterMode`` on a batch without padding: ``queries`` and ``loss``, or
        ``embeddings`` (what a loss over the global batch does with its rows belongs to no sample).
        """
        from torch.utils.flop_counter import FlopCounterMode

        trial = self.trial()
        self.only_where(hasattr(trial.module, "flops"), "it declares no flops")
        shown = _with_encodings(self.shown(lengths=(8,)), lambda x: x, wants_gradient=False)
        states = None if trial.over_global_batch else trial.states(shown)
        states = None if states is None else states.detach()
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            if trial.over_global_batch:
                trial.module.embeddings(shown.encoded, shown.batch)
            else:
                trial.module.queries(shown.batch, shown.encoded)
                trial.module.loss(states, shown.encoded, shown.batch)
        declared, counted = int(trial.module.flops(shown.batch)), counter.get_total_flops()
        require(
            abs(declared - counted) <= 0.1 * counted, f"it declares {declared:,}, torch counts {counted:,}"
        )


def _said(trial: Trial, shown: Shown) -> dict[str, Loss]:
    return trial.losses([shown]) if trial.over_global_batch else trial.local(shown)


def _both(trial: Trial, exact: Trial, shown: Shown) -> tuple[dict[str, Loss], Mapping[str, Loss]]:
    """The losses as they are, and in float64 of the same states or rows."""
    in_full = _with_encodings(shown, torch.Tensor.double)
    if trial.over_global_batch:
        rows = trial.rows([shown])
        doubled = {name: Rows(one.vectors_RE.double(), one.ids_RI) for name, one in rows.items()}
        return trial.module.global_loss(rows), exact.module.global_loss(doubled)
    states = trial.states(shown)
    wide = None if states is None else states.double()
    found = trial.module.loss(states, shown.encoded, shown.batch)
    return found, exact.module.loss(wide, in_full.encoded, in_full.batch)


def _with_encodings(shown: Shown, change: Callable[[Tensor], Tensor], wants_gradient: bool = True) -> Shown:
    def leaf(tensor: Tensor) -> Tensor:
        return change(tensor.detach()).requires_grad_(wants_gradient)

    encoded = {
        name: replace(one, tokens_BND=leaf(one.tokens_BND), pooled_BD=leaf(one.pooled_BD))
        for name, one in shown.encoded.items()
    }
    return Shown(shown.batch, encoded)


def _require_scalar(term: str, total: Any) -> None:
    require(isinstance(total, Tensor), f"the sum of '{term}' is a {type(total).__name__}, not a tensor")
    require(total.ndim == 0, f"the sum of '{term}' has shape {tuple(total.shape)}, not that of a scalar")
    wide = total.dtype in (torch.float32, torch.float64)
    require(wide, f"the sum of '{term}' is {total.dtype}, less than fp32")


def _require_float64(what: str, tensor: Tensor) -> None:
    hint = "write x.to(torch.promote_types(x.dtype, torch.float32)) for x.float()"
    require(tensor.dtype == torch.float64, f"of float64 inputs {what} is {tensor.dtype}; {hint}")


def _near(found: float, expected: float, rtol: float) -> bool:
    return abs(found - expected) <= rtol * max(abs(expected), 1e-12)


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:g}" for name, number in sorted(numbers.items())) or "nothing"


def _mixture(losses: Mapping[str, Loss]) -> Tensor:
    """All sums with factors of their own, so that no two faults cancel."""
    parts = [loss.sum * (1 + 0.3 * place) for place, (_, loss) in enumerate(sorted(losses.items()))]
    return torch.stack(parts).sum()


def _mixture_of_rows(rows: Mapping[str, Rows]) -> Tensor:
    rng = torch.Generator().manual_seed(11)
    parts = []
    for _, one in sorted(rows.items()):
        factors_RE = torch.randn(one.vectors_RE.shape, generator=rng, dtype=torch.float64)
        parts.append((at_least_fp32(one.vectors_RE) * factors_RE).sum())
    return torch.stack(parts).sum()


def _gradcheck(leaves: Mapping[str, Tensor], function: Callable[[], Tensor]) -> None:
    """Of a function that reads the leaves: gradcheck moves them in place."""
    for name, leaf in leaves.items():
        if leaf.numel() > 0:
            try:
                gradcheck(lambda _: function(), (leaf,), fast_mode=True)
            except GradcheckError as error:
                require(False, f"at {name}: {' '.join(str(error).split())[:300]}")
