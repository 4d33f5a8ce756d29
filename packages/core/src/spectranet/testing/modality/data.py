"""What the contract asks of a modality's way from bytes to arrays: decode, transform, mask, fingerprint."""

from __future__ import annotations

import copy
import math

import numpy as np

from spectranet.contracts import Preview, Values
from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase
from spectranet.testing.modality.values import flaws, same_values
from spectranet.testing.modality.worker import parts_for_workers, prepared_elsewhere, prepared_here

__all__ = ["DataClauses"]

_PREVIEWS = ("image", "audio", "text")
_DRAWS = 32


class DataClauses(ModalityCase):
    """From an example's bytes to values and masks."""

    @classmethod
    def prepare(cls, content: bytes, train: bool, seed: int) -> Values:
        """Decode and transform."""
        modality = cls.modality()
        transform = modality.build_transform(cls.config(), train)
        return transform(modality.decode(content), np.random.default_rng(seed))

    @clause
    def test_values_are_well_formed(self) -> None:
        """A transform gives ``Values``: a position, int32 (N, P), and a segment, int32 (N,), for each of at
        least one token, and finite arrays of numbers as data. The segment is -1 everywhere, or nowhere where
        the modality declares ``temporal``.

        Checked on every ``example()``, for training and for evaluation.
        """
        for train in (True, False):
            for content in self.examples():
                values = self.prepare(content, train, 0)
                found = list(flaws(values, self.modality().temporal))
                require(not found, f"train={train}: {'; '.join(found)}")
                require(len(values.position_NP) > 0, f"train={train}: an example gives no token")

    @clause
    def test_training_transform_is_seeded(self) -> None:
        """What the training transform makes of a sample depends on the sample and on the generator that it
        is given, on nothing else.

        All examples are decoded and transformed, and then again in reverse, with generators of one seed, by
        the same transform and by another that is built like it; what came out first must still be as it was.
        Draw from ``rng`` alone, not from numpy's or Python's global generator, keep nothing from one sample
        to the next, and give each its own memory.
        """
        modality = self.modality()
        one, other = (modality.build_transform(self.config(), True) for _ in range(2))
        first, kept = [], []
        for raw in [modality.decode(content) for content in self.examples()]:
            first.append(one(raw, np.random.default_rng(3)))
            kept.append(copy.deepcopy(first[-1]))
        for content, expected in reversed(list(zip(self.examples(), kept, strict=True))):
            for transform in (one, other):
                again = transform(modality.decode(content), np.random.default_rng(3))
                differing = same_values(expected, again)
                require(not differing, f"{differing} between two calls with generators of one seed")
        for before, now in zip(kept, first, strict=True):
            differing = same_values(before, now)
            require(not differing, f"{differing} after other samples were transformed: they share memory")

    @clause
    def test_evaluation_transform_is_fixed(self) -> None:
        """The evaluation transform gives a sample the same values whatever generator it is handed, and draws
        nothing from it.

        Checked with generators of two seeds, whose state must be as before.
        """
        modality = self.modality()
        transform = modality.build_transform(self.config(), False)
        for content in self.examples():
            generators = [np.random.default_rng(seed) for seed in (1, 2)]
            before = [generator.bit_generator.state for generator in generators]
            first, second = (transform(modality.decode(content), generator) for generator in generators)
            differing = same_values(first, second)
            require(not differing, f"{differing} between generators of two seeds")
            after = [generator.bit_generator.state for generator in generators]
            require(before == after, "the transform for evaluation draws from its generator")

    @clause
    def test_transform_pickles(self) -> None:
        """``decode``, the transforms, ``sample_mask``, ``collate`` and ``fingerprint`` pickle, and give in a
        spawned process what they give here.

        Data-loading workers are such processes where there is no fork. Functions of a module, dataclasses
        and ``lazy`` pickle; lambdas, closures and open files do not. Python's ``hash`` of a text differs
        between processes.
        """
        parts = parts_for_workers(self.modality(), self.config())
        content = self.examples()[0]
        here, there = prepared_here(parts, content), prepared_elsewhere(parts, content)
        for which in ("train", "evaluation"):
            differing = same_values(here[which], there[which])
            require(
                not differing, f"the {which} transform gives other values in a spawned process: {differing}"
            )
        require(
            np.array_equal(here["mask"], there["mask"]), "sample_mask gives another mask in a spawned process"
        )
        alike = all(
            np.array_equal(array, there["collated"][name]) for name, array in here["collated"].items()
        )
        require(alike, "collate gives other tensors in a spawned process")
        found = (
            f"the fingerprint is {here['fingerprint']} here and {there['fingerprint']} in a spawned process"
        )
        require(here["fingerprint"] == there["fingerprint"], found)

    @clause
    def test_mask_hides_its_share(self) -> None:
        """``sample_mask(values, ratio, rng)`` gives bool (N,), True at ``ratio`` of the tokens that may be
        hidden, up to one token or one step of tokens that go together; never at all of them; the same for
        the same generator.

        Which tokens may be hidden is found by drawing: those that some of 32 masks have. Set ``mask_step``
        to the length of a span or tube, where tokens are hidden by several.
        """
        modality = self.modality()
        for content in self.examples():
            values = self.prepare(content, True, 0)
            tokens = len(values.position_NP)
            draws = [modality.sample_mask(values, 0.5, np.random.default_rng(i)) for i in range(_DRAWS)]
            flawed = next((m for m in draws if np.shape(m) != (tokens,) or m.dtype != bool), None)
            require(
                flawed is None,
                f"the mask of {tokens} tokens is {getattr(flawed, 'dtype', '')} {np.shape(flawed)}",
            )
            again = modality.sample_mask(values, 0.5, np.random.default_rng(0))
            require(
                np.array_equal(draws[0], again), "two masks differ, though their generators have one seed"
            )
            may_hide = int(np.any(draws, axis=0).sum())
            for ratio in (0.25, 0.5, 0.75, modality.mask_ratio):
                counts = [
                    int(modality.sample_mask(values, ratio, np.random.default_rng(i)).sum())
                    for i in range(_DRAWS)
                ]
                self._require_share(ratio, may_hide, tokens, counts)

    def _require_share(self, ratio: float, may_hide: int, tokens: int, counts: list[int]) -> None:
        asked = ratio * may_hide
        worst = max(counts, key=lambda count: abs(count - asked))
        found = f"of {tokens} tokens, {may_hide} of which may be hidden, a ratio of {ratio} hides {worst}"
        require(abs(worst - asked) <= self.mask_step, f"{found}, not {asked:.1f} within {self.mask_step}")
        require(max(counts) < tokens, f"{found}: nothing is left to look at")

    @clause
    def test_ids_fit_the_vocabulary(self) -> None:
        """A modality made of discrete ids declares ``vocab_size``, and collates ``data["ids"]``, int64
        (B, N), all from 0 to below ``vocab_size(config)``, also at padding.

        Read from a ragged batch. Objectives that write, such as captioning, embed these ids and predict them
        by a table of this size: pad with an id of the vocabulary, not with -1 or -100.
        """
        vocab_size = self.modality().vocab_size
        self.only_where(vocab_size, "it declares no vocab_size, so it is not made of discrete ids")
        assert vocab_size is not None
        size, batch = vocab_size(self.config()), self.batch()
        ids_BN = batch.data.get("ids")
        require(ids_BN is not None, f"data has {', '.join(batch.data)}, but no ids")
        assert ids_BN is not None
        kinds = [(str(ids_BN.dtype), tuple(ids_BN.shape)), ("torch.int64", tuple(batch.valid_BN.shape))]
        require(kinds[0] == kinds[1], f"data['ids'] is {kinds[0]}, not {kinds[1]}")
        least, most = int(ids_BN.min()), int(ids_BN.max())
        require(least >= 0 and most < size, f"the ids go from {least} to {most}, the vocabulary has {size}")

    @clause
    def test_fingerprint_is_fixed(self) -> None:
        """``fingerprint(raw)`` is an unsigned integer of 64 bits, the same for the same bytes, and not the
        same for everything.

        Asked twice of every ``example()``. It is kept beside the data and compared by the bits that differ:
        return Python's ``int(...)``, not numpy's, made of what is in the sample; ``hash`` of a text or of
        bytes differs between processes.
        """
        modality = self.modality()
        seen = []
        for content in self.examples():
            first, second = (modality.fingerprint(modality.decode(content)) for _ in range(2))
            require(isinstance(first, int), f"it is {type(first).__name__} {first!r}, not int")
            require(0 <= first < 1 << 64, f"it is {first}, outside 0 to 2^64 - 1")
            require(first == second, f"it is {first} and then {second} for the same bytes")
            seen.append(first)
        distinct = len(set(self.examples()))
        require(distinct == 1 or len(set(seen)) > 1, f"{distinct} different examples all have {seen[0]}")

    @clause
    def test_largest_is_largest(self) -> None:
        """``largest(config)``, where it is declared, gives the most tokens that any sample can have, in
        arrays of the same names and types, so that a plan made with it holds.

        Compared with every ``example()``, and put into one batch with it.
        """
        modality = self.modality()
        self.only_where(modality.largest, "it declares no largest")
        assert modality.largest is not None
        values = modality.largest(self.config())
        found = list(flaws(values, modality.temporal))
        require(not found, "; ".join(found))
        for content in self.examples():
            sample = self.prepare(content, True, 0)
            lengths = len(values.position_NP), len(sample.position_NP)
            require(lengths[0] >= lengths[1], f"it has {lengths[0]} tokens, an example has {lengths[1]}")
            kinds = [{name: array.dtype.name for name, array in v.data.items()} for v in (values, sample)]
            require(kinds[0] == kinds[1], f"its data are {kinds[0]}, those of an example {kinds[1]}")
            modality.collate([values.data, sample.data])

    @clause
    def test_describe_and_preview_show(self) -> None:
        """``describe``, where it is declared, gives finite numbers by name, 0 or 1 for names that end in
        ``_share``; ``preview`` gives things to look at: an ``image`` or ``audio`` with the content of a file,
        a ``text`` with pieces for its tokens, among them all that are hidden.

        ``describe`` is asked of every ``example()``, ``preview`` of a few with hidden tokens. Leave out a
        fact that a sample lacks rather than say NaN; a picture is the bytes of a PNG, a sound those of a FLAC
        or WAV, ``Preview("image", content=...)``.
        """
        modality = self.modality()
        self.only_where(modality.describe or modality.preview, "it declares neither describe nor preview")
        if modality.describe is not None:
            for content in self.examples():
                for name, number in modality.describe(self.config(), modality.decode(content)).items():
                    kept = math.isfinite(number) and (not name.endswith("_share") or number in (0, 1))
                    require(kept, f"describe says {name} = {number}")
        if modality.preview is not None:
            for view in self.views():
                for shown in modality.preview(self.config(), view.values, view.hidden_N):
                    _require_preview(shown, view.hidden_N)


def _require_preview(shown: Preview, hidden_N: np.ndarray) -> None:
    require(isinstance(shown, Preview), f"preview gave {type(shown).__name__}")
    require(shown.kind in _PREVIEWS, f"preview has the kind '{shown.kind}'; it may be {', '.join(_PREVIEWS)}")
    if shown.kind == "text":
        hidden, pieces = sum(is_hidden for _, is_hidden in shown.pieces), len(shown.pieces)
        found = f"preview has {pieces} pieces, {hidden} of them hidden, for {len(hidden_N)} tokens, "
        found += f"{int(hidden_N.sum())} of them hidden"
        require(hidden == hidden_N.sum() and 0 < pieces <= len(hidden_N), found)
    else:
        require(shown.content, f"preview of an {shown.kind} is empty")
