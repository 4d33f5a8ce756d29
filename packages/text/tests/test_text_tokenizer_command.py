"""``spectranet tokenizer``: every kind of input, the same file twice, and errors that help."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spectranet import ConfigError, DataError
from spectranet_text.commands import tokenizer
from spectranet_text.tokenizer import open_tokenizer

SHARED = Path(__file__).parents[4] / "shared" / "data"


def run(*words: object) -> Result:
    return CliRunner().invoke(tokenizer, [str(word) for word in words])


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_input(folder: Path, kind: str, texts: list[str]) -> Path:
    path = folder / f"corpus{kind}"
    if kind == ".txt":
        path.write_text("\n".join(texts), encoding="utf-8")
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps({"image": "x", "text": text}) + "\n" for text in texts))
    elif kind == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "text"), *(("x", text) for text in texts)])
    else:
        members = {}
        for number, text in enumerate(texts):
            members[f"part/{number:04d}.jpg"] = b"\xff\xd8"
            members[f"part/{number:04d}.TXT"] = text.encode()
        write_tar(path, members, "w:gz" if kind.endswith("gz") else "w")
    return path


@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".csv", ".tar", ".tar.gz"])
def test_every_kind_of_input_gives_the_same_model(kind, tmp_path, corpus, model_path):
    output = tmp_path / "new" / "out.model"
    source = write_input(tmp_path, kind, corpus)
    result = run("train", "--vocab-size", 350, "--output", output, source)
    assert result.exit_code == 0, result.exception
    assert f"350 pieces from {len(corpus)} texts" in result.output
    assert "skipped" not in result.output
    assert output.read_bytes() == model_path.read_bytes()
    assert [path.name for path in output.parent.iterdir()] == ["out.model"]


def test_a_vocabulary_too_large_says_what_works_and_it_does(tmp_path, corpus, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_input(tmp_path, ".jsonl", corpus)
    result = run("train", "--output", "a b.model", source)
    assert isinstance(result.exception, ConfigError)
    first, command = str(result.exception).splitlines()
    assert "at most" in first and "not 32000" in first and ".cc" not in first
    words = shlex.split(command.removeprefix("  run:"))
    assert words[:3] == ["spectranet", "tokenizer", "train"]
    assert not Path("a b.model").exists()
    again = run(*words[2:])
    assert again.exit_code == 0, again.exception
    assert open_tokenizer("a b.model").vocab_size == int(words[words.index("--vocab-size") + 1])


def test_a_vocabulary_too_small_says_what_works_and_it_does(tmp_path, corpus):
    source = write_input(tmp_path, ".txt", corpus)
    options = ("--output", tmp_path / "o.model", "--character-coverage", "0.99")
    result = run("train", "--vocab-size", 100, *options, source)
    assert isinstance(result.exception, ConfigError)
    assert "at least" in str(result.exception)
    words = shlex.split(str(result.exception).splitlines()[1].removeprefix("  run:"))
    assert words[words.index("--character-coverage") + 1] == "0.99"
    assert run(*words[2:]).exit_code == 0


def test_where_keeps_matching_rows(tmp_path, corpus, model_path):
    source = tmp_path / "rows.jsonl"
    rows = [{"text": text, "split": "train", "fold": 1} for text in corpus]
    rows += [{"text": "漢字", "split": "test", "fold": 1}, {"text": "かな", "split": "train", "fold": 2}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "o.model"
    conditions = ("--where", "split=train", "--where", "fold=1")
    result = run("train", "--vocab-size", 350, "--output", output, *conditions, source)
    assert result.exit_code == 0, result.exception
    assert output.read_bytes() == model_path.read_bytes()


def test_broken_texts_are_skipped_and_counted(tmp_path, corpus):
    source = tmp_path / "corpus.tar"
    bad = {"x.txt": b"\xff\xfe", "y.txt": b"  \n", "z.txt": b"y" * (1 << 21), "w.notxt": b"\xff"}
    write_tar(source, {f"{i}.txt": text.encode() for i, text in enumerate(corpus)} | bad)
    result = run("train", "--vocab-size", 350, "--output", tmp_path / "o.model", source)
    assert result.exit_code == 0, result.exception
    assert f"{len(corpus)} texts, 3 skipped" in result.output


@pytest.mark.parametrize(
    ("name", "data", "options", "error", "message"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text', (), DataError, r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", b"[1]\n", (), DataError, r"a\.jsonl, line 1: not a JSON object"),
        ("a.jsonl", b'{"caption": "x"}\n', (), ConfigError, "no column 'text' .* it has caption"),
        ("a.csv", b"text\nx\n", ("--where", "split=test"), ConfigError, "no column 'split' .*--where"),
        ("a.csv", b"text\n\xff\n", (), DataError, "not CSV in UTF-8"),
        ("a.tar", b"nonsense", (), DataError, "not a readable tar"),
        ("a.txt", b"x\n", ("--where", "a=b"), ConfigError, "--where selects rows of .jsonl and .csv"),
        ("a.txt", b" \n\n", (), ConfigError, "there is no text"),
        ("a.md", b"x\n", (), ConfigError, r"cannot read text from .*a\.md"),
    ],
)
def test_bad_input_is_named(tmp_path, name, data, options, error, message):
    (tmp_path / name).write_bytes(data)
    result = run("train", "--output", tmp_path / "o.model", *options, tmp_path / name)
    assert isinstance(result.exception, error)
    assert re.search(message, str(result.exception))


def test_missing_files_are_all_named(tmp_path):
    result = run("train", tmp_path / "one.txt", tmp_path / "two.tar")
    assert "one.txt" in str(result.exception) and "two.tar" in str(result.exception)


def test_a_tar_without_the_field_names_the_option(tmp_path):
    source = write_tar(tmp_path / "a.tar", {"0.caption": b"x"})
    result = run("train", "--output", tmp_path / "o.model", source)
    assert isinstance(result.exception, ConfigError)
    assert "'.txt'" in str(result.exception) and "--field" in str(result.exception)


def test_a_truncated_tar_is_an_error_and_leaves_no_model(tmp_path, corpus):
    source = write_input(tmp_path, ".tar", corpus)
    source.write_bytes(source.read_bytes()[:700])
    result = run("train", "--vocab-size", 350, "--output", tmp_path / "o.model", source)
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "o.model").exists()


def test_a_condition_without_a_value_is_a_usage_error(tmp_path):
    (tmp_path / "a.csv").write_text("text\nx\n")
    result = run("train", "--where", "split", tmp_path / "a.csv")
    assert result.exit_code == 2 and "'split' is not COLUMN=VALUE" in result.output


def test_encode_shows_pieces(model_path):
    result = run("encode", model_path, "a red circle")
    assert result.exit_code == 0
    assert "▁a" in result.output and "back to text: a red circle" in result.output
    assert "<0x61>" in run("encode", "bytes", "a").output


def test_trains_on_the_real_captions_and_repeats(tmp_path):
    sources = [SHARED / "emoji/captions.jsonl", SHARED / "spoken_digits/transcripts.jsonl"]
    if not all(source.is_file() for source in sources):
        pytest.skip(f"no sample data in {SHARED}")
    outputs = [tmp_path / "one.model", tmp_path / "two.model"]
    for output in outputs:
        options = ("--vocab-size", 1000, "--where", "split=train")
        result = run("train", *options, "--output", output, *sources)
        assert result.exit_code == 0, result.exception
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    opened = open_tokenizer(str(outputs[0]))
    assert opened.vocab_size == 1000
    for text in ("seven", "grinning face", "keycap: *"):
        assert opened.decode(opened.encode(text)) == text
        assert len(opened.encode(text)) <= len(text) / 2
