"""The masked-language loss is torch's cross-entropy over the valid hidden tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLMPredictionHead

from spectranet_text.target import TextHead, build_target_head

IDS = [[2, 10, 11, 12, 13, 14, 3], [2, 20, 21, 3]]
HIDDEN = [[1, 4, 5], [2]]


def head(width: int = 16, vocab_size: int = 40) -> TextHead:
    torch.manual_seed(0)
    made = TextHead(vocab_size, width)
    made.init_weights()
    torch.nn.init.normal_(made.vocabulary.weight)
    torch.nn.init.normal_(made.vocabulary.bias)
    return made


def bert_logits(ours: TextHead, states: torch.Tensor) -> torch.Tensor:
    """The same through transformers' own head, in float64."""
    size, width = ours.vocabulary.weight.shape
    theirs = BertLMPredictionHead(
        BertConfig(vocab_size=size, hidden_size=width, layer_norm_eps=ours.norm.eps)
    )
    theirs.load_state_dict(
        {
            "bias": ours.vocabulary.bias,
            "decoder.bias": ours.vocabulary.bias,
            "decoder.weight": ours.vocabulary.weight,
            "transform.dense.weight": ours.transform.weight,
            "transform.dense.bias": ours.transform.bias,
            "transform.LayerNorm.weight": ours.norm.weight,
            "transform.LayerNorm.bias": ours.norm.bias,
        }
    )
    return theirs.double()(states.double())


def test_loss_and_gradient_equal_torch(view):
    ours, batch = head(), view(IDS, HIDDEN)
    states_BHD = torch.randn(2, 3, 16, requires_grad=True)
    loss = ours(states_BHD, batch)
    loss.sum.backward()

    copy = states_BHD.detach().clone().requires_grad_()
    logits = bert_logits(ours, torch.cat([copy[0], copy[1, :1]]))
    expected = F.cross_entropy(logits, torch.tensor([10, 13, 14, 21]), reduction="sum")
    expected.backward()
    assert loss.weight == 4.0
    assert loss.sum.dtype == torch.float32
    assert torch.allclose(loss.sum.double(), expected, rtol=1e-6)
    assert torch.allclose(states_BHD.grad, copy.grad, atol=1e-5)
    assert all(parameter.grad.abs().sum() > 0 for parameter in ours.parameters())


def test_bfloat16_loss_is_within_one_percent(view):
    ours, batch = head(width=64, vocab_size=2000), view(IDS, HIDDEN)
    states_BHD = torch.randn(2, 3, 64)
    exact = ours(states_BHD, batch).sum
    rough = ours.to(torch.bfloat16)(states_BHD.bfloat16(), batch).sum
    assert rough.dtype == torch.float32
    assert abs(rough - exact) / exact < 0.01


def test_size_is_that_of_the_tokenizer(config, model_path):
    assert build_target_head(config(), 8).vocabulary.weight.shape == (261, 8)
    assert build_target_head(config(tokenizer=str(model_path)), 8).vocabulary.weight.shape == (350, 8)
    assert build_target_head(config(tokenizer="absent.model", vocab_size=99), 8).vocabulary.out_features == 99
