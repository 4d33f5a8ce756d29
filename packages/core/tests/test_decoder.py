"""The decoder: groups are private, reading is limited, causality holds, padding is inert."""

from __future__ import annotations

import math

import pytest
import torch

from spectranet import Queries
from spectranet.config.schema import DecoderConfig
from spectranet.model.decoder import CrossModalDecoder, Memory, attend
from spectranet.model.initialise import materialise

WIDTH, B = 32, 3


@pytest.fixture(params=[("swiglu", "rmsnorm"), ("gelu", "layernorm")], ids=lambda p: p[0])
def decoder(request):
    mlp, norm = request.param
    config = DecoderConfig(width=WIDTH, layers=2, heads=4, mlp_hidden=48, mlp=mlp, norm=norm)
    with torch.device("meta"):
        decoder = CrossModalDecoder(config)
    for i, block in enumerate(decoder.blocks):
        materialise(block, f"block {i}", 0, torch.device("cpu"))
        for parameter in block.parameters():  # far from the small initial values, so that leaks show
            parameter.data.mul_(5 if parameter.ndim > 1 else 1)
    decoder.norm.to_empty(device="cpu")
    decoder.norm.reset_parameters()
    return decoder


def memory(seed: int = 0) -> Memory:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(B, 1 + 5 + 4, WIDTH, generator=generator)
    return Memory(tokens, torch.ones(B, 10, dtype=torch.bool), {"": (0, 1), "image": (1, 6), "text": (6, 10)})


def queries(group: str, count: int, seed: int, **options) -> Queries:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(B, count, WIDTH, generator=generator)
    options.setdefault("reads", ("image", "text"))
    return Queries(group, tokens, torch.ones(B, count, dtype=torch.bool), **options)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, atol=1e-5)


def test_groups_do_not_see_each_other(decoder):
    masked, caption = queries("masked", 4, 1), queries("caption", 3, 2, causal=True, reads=("image",))
    together = decoder([masked, caption], memory())
    assert close(together[0], decoder([masked], memory())[0])
    assert close(together[1], decoder([caption], memory())[0])


def test_a_group_sees_the_groups_it_names_and_not_the_other_way_round(decoder):
    pool, masked = queries("pool", 2, 1, sees=("masked",)), queries("masked", 3, 2)
    first = decoder([pool, masked], memory())
    second = decoder([pool, queries("masked", 3, 3)], memory())
    assert not close(first[0], second[0])
    assert close(first[1], decoder([masked], memory())[0])


def test_a_query_reads_only_the_modalities_of_its_group(decoder):
    caption = queries("caption", 3, 1, reads=("image",))
    other_text, other_image = memory(), memory()
    other_text.tokens_BMD[:, 6:] = other_text.tokens_BMD[:, 6:].flip(-1)
    other_image.tokens_BMD[:, 1:6] = other_image.tokens_BMD[:, 1:6].flip(-1)
    plain = decoder([caption], memory())[0]
    assert close(plain, decoder([caption], other_text)[0])
    assert not close(plain, decoder([caption], other_image)[0])


def test_a_causal_group_does_not_see_the_future(decoder):
    caption = queries("caption", 5, 1, causal=True)
    changed = queries("caption", 5, 1, causal=True)
    changed.tokens_BQD[:, 3] = changed.tokens_BQD[:, 3].flip(-1)
    before, after = decoder([caption], memory())[0], decoder([changed], memory())[0]
    assert close(before[:, :3], after[:, :3])
    assert not close(before[:, 4], after[:, 4])


def test_padded_queries_and_padded_memory_are_inert(decoder):
    masked = queries("masked", 4, 1)
    masked.valid_BQ[:, 3] = False
    padded = memory()
    padded.valid_BM[:, 5] = False
    plain = decoder([masked], padded)[0]
    masked.tokens_BQD[:, 3] = masked.tokens_BQD[:, 3].flip(-1)
    padded.tokens_BMD[:, 5] = padded.tokens_BMD[:, 5].flip(-1)
    assert close(plain[:, :3], decoder([masked], padded)[0][:, :3])


def test_a_query_with_nothing_to_read_is_finite_and_has_a_finite_gradient(decoder):
    alone = queries("alone", 2, 1, reads=("audio",))
    alone.valid_BQ[:] = False
    alone.tokens_BQD.requires_grad_()
    states = decoder([alone], memory())[0]
    states.sum().backward()
    assert states.isfinite().all() and alone.tokens_BQD.grad.isfinite().all()


def test_attention_agrees_with_the_formula_in_float64():
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 12, generator=generator, dtype=torch.float64) for n in (3, 5, 5))
    allowed = torch.rand(2, 1, 3, 5, generator=generator) > 0.3
    allowed[..., 0] = True
    found = attend(q, k, v, 2, allowed)
    for b in range(2):
        for head in range(2):
            cut = slice(6 * head, 6 * head + 6)
            scores = q[b, :, cut] @ k[b, :, cut].T / math.sqrt(6)
            weights = scores.masked_fill(~allowed[b, 0], -math.inf).softmax(-1)
            assert torch.allclose(found[b, :, cut], weights @ v[b, :, cut])


def test_a_block_has_the_parameters_of_the_formula():
    d, h = 64, 96
    with torch.device("meta"):
        block = CrossModalDecoder(DecoderConfig(width=d, layers=1, heads=4, mlp_hidden=h)).blocks[0]
    # self: qkv and out; cross: q, kv and out; SwiGLU: gate, value, out; four norms.
    assert sum(p.numel() for p in block.parameters()) == 4 * d * d + 4 * d * d + 3 * d * h + 4 * d
