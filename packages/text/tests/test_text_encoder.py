"""The encoder is transformers' BERT, and tells nothing of what is hidden or padded."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertModel

from spectranet import ConfigError
from spectranet_text.encoder import TextEncoder, shard_units
from spectranet_text.options import TextConfig

IDS = [[2, 10, 11, 12, 13, 14, 3], [2, 20, 21, 3]]


def build(config: TextConfig, seed: int = 0) -> TextEncoder:
    """As the core builds it: on the meta device, then storage full of junk, then weights."""
    with torch.device("meta"):
        encoder = TextEncoder(config)
    encoder.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            tensor.fill_(111)
        torch.manual_seed(seed)
        encoder.init_weights()
    return encoder


def save_bert(folder: Path, kind: type = BertModel, **options: object) -> BertConfig:
    settings = {
        "vocab_size": 261,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 24,
    }
    bert = kind(BertConfig(**settings | options))
    # The library's weights are so small that all tokens look alike; larger ones tell errors apart.
    with torch.no_grad():
        for parameter in bert.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    bert.save_pretrained(folder)
    return bert.config


def oracle(config: BertConfig | str, encoder: TextEncoder, ids: list[int]) -> torch.Tensor:
    """transformers' own last_hidden_state of one text, unpadded."""
    if isinstance(config, str):
        bert = BertModel.from_pretrained(config, local_files_only=True)
    else:
        bert = BertModel(config)
        bert.load_state_dict(encoder.bert.state_dict(), strict=False)
    with torch.no_grad():
        return bert.eval()(input_ids=torch.tensor([ids])).last_hidden_state[0]


def test_equals_transformers_when_nothing_is_hidden(config, view):
    encoder = build(config())
    encoded = encoder(view(IDS))
    for row, ids in enumerate(IDS):
        expected = oracle(encoder.bert.config, encoder, ids)
        assert torch.allclose(encoded.tokens_BND[row, : len(ids)], expected, atol=1e-5, rtol=0)
        assert encoded.valid_BN[row].sum() == len(ids)


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_equals_transformers_with_weights_from_a_folder(config, view, tmp_path, kind):
    save_bert(tmp_path, kind)
    encoder = build(config(pretrained=str(tmp_path)))
    encoded = encoder(view(IDS))
    for row, ids in enumerate(IDS):
        expected = oracle(str(tmp_path), encoder, ids)
        assert torch.allclose(encoded.tokens_BND[row, : len(ids)], expected, atol=1e-5, rtol=0)
    assert encoder.training
    assert all(p.dtype == torch.float32 and p.requires_grad for p in encoder.parameters())


def test_weights_saved_in_half_precision_become_fp32(config, tmp_path):
    BertModel(BertConfig(**_sizes())).to(torch.bfloat16).save_pretrained(tmp_path)
    encoder = build(config(pretrained=str(tmp_path)))
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def _sizes() -> dict[str, int]:
    return {
        "vocab_size": 261,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 24,
    }


def test_a_folder_without_all_weights_is_refused(config, tmp_path):
    bert = BertModel(BertConfig(**_sizes()))
    state = {name: value for name, value in bert.state_dict().items() if "layer.1" not in name}
    bert.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ConfigError, match=r"lacks the weights .*layer\.1"):
        build(config(pretrained=str(tmp_path)))


def test_a_folder_that_contradicts_the_options_names_both_numbers(config, tmp_path):
    save_bert(tmp_path, vocab_size=350, hidden_size=64)
    with pytest.raises(ConfigError) as raised:
        build(config(pretrained=str(tmp_path)))
    message = str(raised.value)
    assert "350" in message and "261" in message
    assert "modalities.text.width=64" in message and "layers" not in message


def test_buffers_are_right_after_the_meta_device(config):
    buffers = dict(build(config()).bert.embeddings.named_buffers())
    assert buffers["position_ids"].tolist() == [list(range(24))]
    assert buffers["token_type_ids"].tolist() == [[0] * 24]


def test_initial_weights_follow_the_library_and_the_seed(config):
    first, same, other = build(config()), build(config()), build(config(), seed=1)
    weight = first.bert.embeddings.word_embeddings.weight
    assert 0.018 < weight[1:].std() < 0.022 and weight[0].abs().max() == 0
    for name, value in first.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
    assert not torch.equal(weight, other.bert.embeddings.word_embeddings.weight)


def test_hidden_tokens_are_left_out_and_invisible(config, view):
    encoder = build(config())
    changed = [[2, 10, 99, 12, 98, 14, 3], IDS[1]]
    hidden = [[2, 4], []]
    one, two = encoder(view(IDS, hidden)), encoder(view(changed, hidden))
    assert one.tokens_BND.shape == (2, 5, 32)
    assert one.position_BNP[0, :, 0].tolist() == [0, 1, 3, 5, 6]
    assert torch.equal(one.tokens_BND, two.tokens_BND)
    assert torch.equal(one.pooled_BD, two.pooled_BD)
    shown = encoder(view(changed, None))
    assert not torch.allclose(shown.pooled_BD[0], one.pooled_BD[0], atol=1e-4)


def test_a_hidden_token_reads_as_the_mask_id(config, view):
    encoder = build(config(mask_id=7))
    encoded = encoder(view([IDS[0]], [[2]]))
    expected = oracle(encoder.bert.config, encoder, [2, 10, 7, 12, 13, 14, 3])
    kept = [0, 1, 3, 4, 5, 6]
    assert torch.allclose(encoded.tokens_BND[0], expected[kept], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_pooled_is_what_the_option_says(config, view, pool):
    encoder = build(config(pool=pool))
    encoded = encoder(view(IDS, [[2, 4], []]))
    for row, count in enumerate((5, 4)):
        tokens = encoded.tokens_BND[row, :count]
        expected = tokens.mean(0) if pool == "mean" else tokens[0]
        assert torch.allclose(encoded.pooled_BD[row], expected, atol=1e-6)


def test_every_parameter_has_a_gradient(config, view):
    encoder = build(config())
    encoded = encoder(view(IDS, [[2, 4], [1]]))
    (encoded.tokens_BND.square().sum() + encoded.pooled_BD.sum()).backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A bias on all keys shifts every score alike: softmax does not see it.
        assert name.endswith("key.bias") or parameter.grad.abs().sum() > 0, name


def test_forward_looks_at_no_value(config, view):
    """So that it can be planned and compiled: on the meta device there are only shapes."""
    with torch.device("meta"):
        encoder = TextEncoder(config())
    batch = view(IDS, [[2, 4], [1]])
    batch.data = {"ids": batch.data["ids"].to("meta")}
    for name in ("position_BNP", "segment_BN", "valid_BN", "visible_BV", "visible_valid_BV", "hidden_BH"):
        setattr(batch, name, getattr(batch, name).to("meta"))
    batch.hidden_valid_BH = batch.hidden_valid_BH.to("meta")
    assert encoder(batch).tokens_BND.shape == (2, 5, 32)


def test_shard_units_are_the_blocks(config):
    encoder = build(config(layers=3))
    assert sum(isinstance(module, shard_units()) for module in encoder.modules()) == 3


def test_encoder_pickles(config, view):
    encoder = build(config())
    again = pickle.loads(pickle.dumps(encoder))
    assert torch.equal(again(view(IDS)).tokens_BND, encoder(view(IDS)).tokens_BND)
