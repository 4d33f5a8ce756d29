"""Does an objective ask the decoder what it may ask?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from spectranet.contracts import Queries
from spectranet.testing.clause import clause, require
from spectranet.testing.objective.case import ObjectiveCase
from spectranet.testing.objective.losses import Trial, gradients_at
from spectranet.testing.objective.samples import Shown

__all__ = ["ObjectiveQueries"]


class ObjectiveQueries(ObjectiveCase):
    """Clauses about queries, of objectives that look at one micro-batch."""

    @clause
    def test_queries_are_well_formed(self) -> None:
        """Queries are (B, Q, D) in the decoder's width, floating, with a bool mask (B, Q); the group's name
        begins with the objective's; ``reads`` is a tuple of modalities of the run, ``sees`` one of other
        groups.

        Names that nobody knows would be passed over in silence, and two groups of one name are an error.
        """
        self.only_local()
        queries = self._queries()
        size, width = len(self.shown().batch), self.context().width
        shape = tuple(queries.tokens_BQD.shape)
        require(
            len(shape) == 3 and shape[::2] == (size, width),
            f"tokens have shape {shape}, not ({size}, Q, {width})",
        )
        require(queries.tokens_BQD.is_floating_point(), f"tokens are {queries.tokens_BQD.dtype}")
        mask = queries.valid_BQ
        require(mask.dtype == torch.bool, f"the mask is {mask.dtype}, not bool")
        require(tuple(mask.shape) == shape[:2], f"the mask has shape {tuple(mask.shape)}, tokens {shape}")
        own = isinstance(queries.group, str) and queries.group.startswith(self.objective().name)
        require(own, f"the group is called {queries.group!r}")
        for field in ("reads", "sees"):
            value = getattr(queries, field)
            names = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
            require(names, f"{field} is {value!r}, not a tuple of names")
        unknown = set(queries.reads) - {one.name for one in self.modalities}
        require(not unknown, f"it reads {', '.join(sorted(unknown))}, which is no modality of the run")
        require(queries.group not in queries.sees, "it sees its own group, as every group does unasked")
        require(isinstance(queries.causal, bool), f"causal is {queries.causal!r}")

    @clause
    def test_causal_queries_do_not_look_ahead(self) -> None:
        """Of an objective with causal queries, a token of the sequence that it writes reaches no earlier
        query, no loss of an earlier one, and neither through what encoders made of the sequence, since they
        look both ways.

        One token of each sample of discrete ids is changed, place after place. Queries before it, and the
        loss's gradient at the states before the one that predicts it, must stay as they are. A modality whose
        tokens change queries must not be among ``reads``.
        """
        self.only_local()
        self.only_where(self._queries().causal, "its queries are not causal")
        trial, shown = self.trial(), self.shown(hidden="none", lengths=(6,))
        before = trial.module.queries(shown.batch, shown.encoded)
        for name, place, changed in _with_another_token(shown):
            after = trial.module.queries(changed.batch, changed.encoded)
            moved_BQ = (after.tokens_BQD != before.tokens_BQD).any(-1)
            early = moved_BQ[:, :place].any()
            require(not early, f"another token {place} of '{name}' changes a query before {place}")
            slopes = [_slope_at_states(trial, one, before) for one in (shown, changed)]
            written = bool((slopes[0] != slopes[1]).any())
            early = (slopes[0] != slopes[1])[:, : place - 1].any()
            require(
                not early, f"another token {place} of '{name}' changes the loss of a query before {place - 1}"
            )
            if bool(moved_BQ.any()) or written:
                require(name not in before.reads, f"'{name}' is written, and its encoder's tokens are read")
                blurred = _with_other_encodings(shown, name)
                same = torch.equal(
                    trial.module.queries(shown.batch, blurred.encoded).tokens_BQD, before.tokens_BQD
                )
                require(
                    same, f"queries are made of what the encoder of '{name}' gave, which has seen all of it"
                )

    @classmethod
    def _queries(cls) -> Queries:
        shown = cls.shown()
        queries = cls.trial().module.queries(shown.batch, shown.encoded)
        cls.only_where(queries is not None, "it asks the decoder nothing")
        require(isinstance(queries, Queries), f"queries() returns {type(queries).__name__}")
        return queries


def _with_another_token(shown: Shown) -> Iterator[tuple[str, int, Shown]]:
    """Modality, a place, the samples with another token there; all samples are of one length."""
    for name, one in shown.batch.modalities.items():
        for place in range(1, one.data["ids"].shape[1]) if "ids" in one.data else ():
            ids_BN = one.data["ids"].clone()
            ids_BN[:, place] = torch.where(ids_BN[:, place] > 1, ids_BN[:, place] - 1, 2)
            changed = replace(one, data={**one.data, "ids": ids_BN})
            modalities = {**shown.batch.modalities, name: changed}
            yield name, place, replace(shown, batch=replace(shown.batch, modalities=modalities))


def _with_other_encodings(shown: Shown, name: str) -> Shown:
    one = shown.encoded[name]
    other = replace(one, tokens_BND=one.tokens_BND + 1, pooled_BD=one.pooled_BD + 1)
    return replace(shown, encoded={**shown.encoded, name: other})


def _slope_at_states(trial: Trial, shown: Shown, queries: Queries) -> Tensor:
    states = trial.answers(queries, shown.encoded).detach().requires_grad_()
    losses = trial.module.loss(states, shown.encoded, shown.batch)
    total = torch.stack([loss.sum for loss in losses.values()]).sum()
    return gradients_at(total, {"states": states})["states"]
