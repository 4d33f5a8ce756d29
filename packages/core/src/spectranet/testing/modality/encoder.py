"""What the contract asks of an encoder: shapes, padding, independence of batch-mates, precision, cost."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spectranet.config.schema import TrainConfig
from spectranet.contracts import Encoded, ModalityBatch
from spectranet.data.pipeline import View
from spectranet.model.functional import gather_tokens
from spectranet.testing.clause import clause, require
from spectranet.testing.modality.case import ModalityCase, rows_of, sample_difference

__all__ = ["EncoderClauses"]


class EncoderClauses(ModalityCase):
    """From a batch to ``Encoded``."""

    @clause
    def test_example_to_tokens(self) -> None:
        """An ``example()`` goes all the way: it is decoded, transformed, masked, collated and encoded.

        Whatever is raised on the way is what is shown here.
        """
        encoded = self.encode(self.batch())
        require(isinstance(encoded, Encoded), f"forward gave {type(encoded).__name__}, not Encoded")
        lengths = encoded.valid_BN.sum(1).tolist()
        require(min(lengths) > 0, f"the samples of a batch have {lengths} valid tokens")

    @clause
    def test_collate_pads(self) -> None:
        """``collate`` gives a tensor for each name, batch first, padded to the longest sample; it changes no
        sample, for samples may share arrays.

        Given several samples of different lengths, and one alone. Make an array of zeros as long as the
        longest, copy each sample into its row, and turn that into a tensor; an array of the sample itself
        must not be resized or written to.
        """
        views = self.views()
        kept = [{name: array.copy() for name, array in view.values.data.items()} for view in views]
        for count in (len(views), 1):
            data = self.modality().collate([view.values.data for view in views[:count]])
            for name, tensor in data.items():
                kind = type(tensor).__name__
                require(isinstance(tensor, Tensor), f"data['{name}'] is {kind}, not a tensor")
                require(
                    tensor.ndim and len(tensor) == count,
                    f"data['{name}'] of {count} samples is {tuple(tensor.shape)}",
                )
        for view, before in zip(views, kept, strict=True):
            changed = [
                name for name, array in before.items() if not np.array_equal(array, view.values.data[name])
            ]
            require(not changed, f"collate wrote to the sample's {', '.join(changed)}")

    @clause
    def test_shapes_and_types(self) -> None:
        """Of the V visible tokens of B samples ``Encoded`` has tokens (B, V, D) and pooled vectors
        (B, D) in the dtype of the parameters, where D is the encoder's ``width``; a bool mask (B, V), True
        at visible tokens that are no padding; integer positions (B, V, P) and segments (B, V), those of the
        visible tokens.

        Compared with the batch that went in, with parameters in fp32. Pass ``visible_valid_BV`` on as the
        mask, and take positions and segments from the batch by ``gather_tokens(..., batch.visible_BV)``. A
        token of your own, such as a class token, may work inside, but does not come out among the tokens.
        """
        batch, width = self.batch(), self.tower().encoder.width
        require(isinstance(width, int), f"the encoder's width is {width!r}, not an int")
        encoded = self.encode(batch)
        (samples, visible), axes = batch.visible_BV.shape, batch.position_BNP.shape[-1]
        shapes = {
            "tokens_BND": (samples, visible, width),
            "pooled_BD": (samples, width),
            "valid_BN": (samples, visible),
            "position_BNP": (samples, visible, axes),
            "segment_BN": (samples, visible),
        }
        for name, shape in shapes.items():
            found = tuple(getattr(encoded, name).shape)
            require(found == shape, f"{name} is {found}; with width {width} it should be {shape}")
        for name in ("tokens_BND", "pooled_BD"):
            dtype = getattr(encoded, name).dtype
            require(dtype == torch.float32, f"{name} is {dtype} with parameters in float32")
        require(encoded.valid_BN.dtype == torch.bool, f"valid_BN is {encoded.valid_BN.dtype}")
        require(
            encoded.valid_BN.equal(batch.visible_valid_BV), "valid_BN is not visible_valid_BV of the batch"
        )
        for name, of_batch in (("position_BNP", batch.position_BNP), ("segment_BN", batch.segment_BN)):
            _require_places(name, getattr(encoded, name), of_batch, batch)

    @clause
    def test_everything_is_finite(self) -> None:
        """Tokens and pooled vectors are finite, also at padding: what is masked out is multiplied by zero
        later, and zero times NaN is NaN.

        Seen in a ragged batch for training and for evaluation, and in a batch of one. Where a row of
        attention scores may be masked throughout, fill with ``torch.finfo(dtype).min`` instead of minus
        infinity; divide means by ``count.clamp_min(1)``, and keep zero out of roots and logarithms.
        """
        for views in (self.views(), self.views()[:1], self.views(False)):
            encoded = self.encode(self.batch(views))
            for name in ("tokens_BND", "pooled_BD"):
                wrong = ~getattr(encoded, name).isfinite()
                at_padding = int((wrong & ~encoded.valid_BN[..., None]).sum()) if name == "tokens_BND" else 0
                require(
                    not wrong.any(), f"{int(wrong.sum())} numbers of {name} are not ({at_padding} at padding)"
                )

    @clause
    def test_ragged_lengths(self) -> None:
        """Samples of different lengths go into one batch, and so do samples of which different numbers of
        tokens are hidden; each keeps as many valid tokens as it has visible ones.

        If all examples have one length, the numbers of hidden tokens make the difference.
        """
        views = self.views()
        self.only_where(max(len(view.hidden_N) for view in views) > 1, "every example is a single token")
        visible = [int((~view.hidden_N).sum()) for view in views]
        require(
            len(set(visible)) > 1,
            f"all {len(views)} samples have {visible[0]} visible tokens, whatever is hidden",
        )
        for chosen in (views, views[::-1]):
            found = self.encode(self.batch(chosen)).valid_BN.sum(1).tolist()
            expected = [int((~view.hidden_N).sum()) for view in chosen]
            require(found == expected, f"samples with {expected} visible tokens have {found} valid ones")

    @clause
    def test_batch_of_one(self) -> None:
        """A batch may be of one sample, with all of its tokens visible or with one of them only.

        Shapes are compared, and all must be finite. ``squeeze()`` without a dimension drops the axis of a
        single sample or token; a variance over a single token is NaN unless ``correction=0``.
        """
        view = self.views()[0]
        tokens = len(view.hidden_N)
        for visible in (tokens, 1):
            hidden_N = np.arange(tokens) >= visible
            encoded = self.encode(self.batch([replace(view, hidden_N=hidden_N)]))
            found = tuple(encoded.tokens_BND.shape)
            require(found[:2] == (1, visible), f"{visible} visible of {tokens} tokens give tokens of {found}")
            finite = encoded.tokens_BND.isfinite().all() and encoded.pooled_BD.isfinite().all()
            require(finite, f"{visible} visible of {tokens} tokens: not finite")

    @clause
    def test_padding_is_inert(self) -> None:
        """A sample has the same tokens and the same pooled vector alone as with the padding that it gets
        beside longer samples.

        Its row is cut out of a batch with longer ones and encoded without them, so that padding is all that
        differs. Padding is what the core puts there (index 0 for visible and hidden tokens, marked in
        ``*_valid``; position 0; segment -1) and, in ``data``, what your ``collate`` puts there. Tokens that
        come out at padded places may be any finite numbers. Mask padding in attention and in means; zero it
        before convolutions.
        """
        views, batch = self.views(), self.batch()
        for row, view in enumerate(views):
            padded, alone = self.encode(rows_of(batch, row, row + 1)), self.encode(self.batch([view]))
            apart = sample_difference(padded, 0, alone, 0)
            own = f"{int((~view.hidden_N).sum())} visible of {len(view.hidden_N)} tokens"
            padded_to = f"padded to {batch.visible_BV.shape[1]} of {batch.valid_BN.shape[1]}"
            found = f"sample {row}, {own}, {padded_to}: tokens differ by {apart:.1e} of the largest"
            require(apart <= self.fp32_within, f"{found}; allowed is {self.fp32_within:.0e}")

    @clause
    def test_batch_mates_are_independent(self) -> None:
        """A sample's tokens do not depend on what else is in its batch, in training mode either.

        Each row of a batch is encoded in it and cut out of it, with the same padding. Normalise over a
        sample's own tokens (LayerNorm, RMSNorm), not over the batch.
        """
        batch = self.batch()
        together = self.encode(batch)
        for row in range(len(batch.valid_BN)):
            alone = self.encode(rows_of(batch, row, row + 1))
            apart = sample_difference(together, row, alone, 0)
            found = f"without the others sample {row} of {len(batch.valid_BN)} "
            found += f"differs by {apart:.1e} of the largest"
            require(apart <= self.fp32_within, f"{found}; allowed is {self.fp32_within:.0e}")

    @clause
    def test_forward_draws_nothing(self) -> None:
        """The forward is a function of batch and weights, in training mode too: no dropout, no random masks;
        and it leaves the batch as it was.

        Encoders run twice in a step whose loss needs the whole global batch, and once more where activations
        are recomputed; all must agree. Here the same batch is encoded twice, and the batch and the global
        generators of torch, numpy and Python are compared before and after. What is random is drawn in the
        transform and in ``sample_mask``; write ``x = x - mean`` for ``x -= mean``.
        """
        batch = self.batch()
        before = {name: tensor.clone() for name, tensor in _tensors_of(batch).items()}
        generators = _generators(stir=True)
        first, second = self.encode(batch), self.encode(batch)
        drawn = [name for name, state in _generators().items() if state != generators[name]]
        require(not drawn, f"a forward changes the global generator of {' and '.join(drawn)}")
        changed = [name for name, tensor in _tensors_of(batch).items() if not tensor.equal(before[name])]
        require(not changed, f"a forward writes to {', '.join(changed)} of its batch")
        for row in range(len(first.valid_BN)):
            apart = sample_difference(second, row, first, row)
            require(
                apart == 0, f"two forwards of one batch differ by {apart:.1e} of the largest in sample {row}"
            )

    @clause
    def test_bf16_is_close(self) -> None:
        """With parameters in bfloat16 the encoder gives bfloat16, near to what it gives in fp32.

        Run as the core does on one device: shard units and what is around them see their parameters in
        bfloat16. The distance is that of all valid tokens, over their norm; of pooled vectors likewise.
        Cast inputs to the dtype of the parameters, and sum in fp32 where many numbers are summed.
        """
        from spectranet.train.distributed import World
        from spectranet.train.parallel.parallelize import make_sharder

        batch = self.batch()
        exact = self.encode(batch)
        tower = copy.deepcopy(self.tower())
        alone = World(0, 1, torch.device("cpu"), None)  # type: ignore[arg-type]
        prepare = make_sharder(TrainConfig(precision="bf16"), alone, tuple(self.modality().shard_units()))
        for part in tower.parts().values():
            prepare(part)
        with torch.no_grad():
            rough = tower(batch)
        for name in ("tokens_BND", "pooled_BD"):
            dtype = getattr(rough, name).dtype
            require(dtype == torch.bfloat16, f"{name} is {dtype} with parameters in bfloat16")
        valid_BV1 = exact.valid_BN[..., None]
        for name, wide in (("tokens", exact.tokens_BND * valid_BV1), ("pooled vectors", exact.pooled_BD)):
            near = rough.tokens_BND * valid_BV1 if name == "tokens" else rough.pooled_BD
            apart = float((near.float() - wide).norm() / wide.norm())
            require(
                apart <= self.bf16_within,
                f"{name} are {apart:.3f} of their norm away; allowed is {self.bf16_within}",
            )

    @clause
    def test_flops_are_declared(self) -> None:
        """``flops(config, tokens, visible, trunk config)`` is within 10 % of the matrix products and
        convolutions of a forward, a multiplication and an addition counting as two.

        Torch's ``FlopCounterMode`` counts samples of two lengths one by one, with all tokens visible and
        with half of them hidden. Attention runs as the products that it stands for, since the counter knows
        no fused one on the CPU.
        """
        by_length = {len(view.hidden_N): view for view in self.views()}
        for tokens in {min(by_length), max(by_length)}:
            for hidden_N in self._none_and_half(by_length[tokens]):
                view = replace(by_length[tokens], hidden_N=hidden_N)
                visible = int((~hidden_N).sum())
                declared = float(self.modality().flops(self.config(), tokens, visible, self.trunk_config()))
                counted = _counted(self, [view])
                sizes = f"{tokens} tokens, {visible} visible"
                found = f"{sizes}: {declared:,.0f} are declared, {counted:,.0f} counted"
                require(abs(declared - counted) <= self.flops_within * counted, found)

    def _none_and_half(self, view: View) -> Sequence[np.ndarray]:
        half_N = self.modality().sample_mask(view.values, 0.5, np.random.default_rng(0))
        return np.zeros_like(half_N), half_N


def _counted(case: EncoderClauses, views: Sequence[View]) -> int:
    batch = case.batch(views)
    with sdpa_kernel(SDPBackend.MATH), _without_onednn(), FlopCounterMode(display=False) as counter:
        case.encode(batch)
    return int(counter.get_total_flops())


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Its LSTM is a single operation, whose products the counter does not see."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns of TF32 when the flag is read
        with torch.backends.mkldnn.flags(enabled=False):  # type: ignore[no-untyped-call]
            yield


def _generators(stir: bool = False) -> dict[str, bytes]:
    """The state of the generators that everybody shares; ``stir``: no longer one that a seed gives."""
    if stir:
        torch.rand(1), np.random.random(), random.random()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": pickle.dumps(np.random.get_state()),
        "Python": pickle.dumps(random.getstate()),
    }


def _tensors_of(batch: ModalityBatch) -> dict[str, Tensor]:
    """By name, ``data['pixels']`` or ``visible_BV``."""
    own = {name: tensor for name, tensor in vars(batch).items() if isinstance(tensor, Tensor)}
    return own | {f"data['{name}']": tensor for name, tensor in batch.data.items()}


def _require_places(name: str, found: Tensor, of_batch: Tensor, batch: ModalityBatch) -> None:
    whole = not found.dtype.is_floating_point and found.dtype != torch.bool
    require(whole, f"{name} is {found.dtype}, not integers")
    expected = gather_tokens(of_batch, batch.visible_BV)
    same = found[batch.visible_valid_BV].equal(expected[batch.visible_valid_BV].to(found.dtype))
    require(same, f"{name} is not that of the visible tokens, batch.{name} at visible_BV")
