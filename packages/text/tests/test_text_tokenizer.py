"""Tokenizers: text comes back, specials are fixed, files are read once a process."""

from __future__ import annotations

import pickle

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from spectranet import ConfigError
from spectranet_text.tokenizer import ByteTokenizer, Tokenizer, open_tokenizer

TEXTS = [
    "a red circle falls",
    "zero",
    "👩‍👩‍👧 family",
    "漢字とかな",
    "naïve café",
    "🏴\U000e0067\U000e0062",
    "~`^|",
]


@pytest.fixture(params=["bytes", "sentencepiece"])
def tokenizer(request, model_path) -> Tokenizer:
    return open_tokenizer("bytes" if request.param == "bytes" else str(model_path))


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(5 <= index < tokenizer.vocab_size for index in ids)


@given(text=st.text())
@settings(max_examples=30, deadline=None)
def test_any_text_survives_as_bytes(text):
    text = text.encode(errors="replace").decode()
    assert ByteTokenizer().decode(ByteTokenizer().encode(text)) == text


def test_specials_have_fixed_ids_and_are_not_made_from_text(tokenizer):
    assert [tokenizer.piece(index) for index in range(5)] == ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    spelled = "<pad> <s> </s> <mask>"
    assert min(tokenizer.encode(spelled)) >= 5
    assert tokenizer.decode(tokenizer.encode(spelled)) == spelled


def test_decode_leaves_specials_out(tokenizer):
    ids = tokenizer.encode("a red circle")
    assert tokenizer.decode([2, *ids[:2], 4, *ids[2:], 3, 0, 0]) == "a red circle"


def test_bytes_of_a_cut_character_decode_without_an_error():
    assert ByteTokenizer().decode(ByteTokenizer().encode("é")[:1]) == "\ufffd"


def test_pieces_are_words_where_bytes_are_letters(model_path):
    assert len(open_tokenizer(str(model_path)).encode("a red circle")) < len("a red circle") * 0.7


def test_pickles_by_path_and_loads_once(model_path, monkeypatch):
    loads = []
    original = sentencepiece.SentencePieceProcessor

    def counted(**options):
        loads.append(options)
        return original(**options)

    data = pickle.dumps(open_tokenizer(str(model_path)))
    assert len(data) < 1000
    monkeypatch.setattr(sentencepiece, "SentencePieceProcessor", counted)
    copy = pickle.loads(data)
    assert loads == []
    assert {tuple(copy.encode("a red circle")) for _ in range(100)}.__len__() == 1
    assert len(loads) == 1


def test_a_missing_file_says_how_to_train_one():
    with pytest.raises(ConfigError) as raised:
        open_tokenizer("absent.model")
    assert "'absent.model'" in str(raised.value)
    assert "spectranet tokenizer train --vocab-size 32000 --output absent.model INPUT..." in str(raised.value)


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "x.model").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="is not a SentencePiece model"):
        open_tokenizer(str(tmp_path / "x.model"))


def test_a_model_with_other_specials_is_refused(tmp_path, corpus):
    prefix = tmp_path / "plain"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_prefix=str(prefix), vocab_size=50, minloglevel=2
    )
    with pytest.raises(ConfigError, match="begins with pieces <unk> <s> </s>"):
        open_tokenizer(f"{prefix}.model")
