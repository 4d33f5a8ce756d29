"""``spectranet data inspect`` on pictures, clips, sounds and captions, through the command line."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from spectranet.cli import main

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"

# The demo's modules import each other as scripts beside one another do.
sys.path.insert(0, str(ROOT / "demo"))
try:
    import write_shards
finally:
    sys.path.remove(str(ROOT / "demo"))

SMALL = {name: replace(each, train=8, test=0) for name, each in write_shards.SOURCES.items()}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def inspect(*words: object) -> Done:
    """The command, run in this process: to import everything anew takes longer than to inspect."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main(["data", "inspect", *map(str, words)])
    return Done(int(caught.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's data, eight samples a source; and a folder of pictures of which one is cut short."""
    folder = tmp_path_factory.mktemp("data")
    write_shards.write_data(folder / "demo", sources=SMALL, processes=1)
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        scene = write_shards.train_scene(write_shards.Picture, rng)
        for extension, content in write_shards.scene_files(scene, rng).items():
            (pictures / f"{number}.{extension}").write_bytes(content)
    whole = (pictures / "2.jpg").read_bytes()
    (pictures / "2.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def inspected(data: Path) -> tuple[str, str]:
    """What the command prints of a mixture of all modalities, and its page."""
    demo = data / "demo" / "train"
    config = data / "mixture.yaml"
    sources = {
        "films": {
            "path": f"{demo}/video-audio-text/*.tar",
            "modalities": ["video", "audio", "text"],
            "fields": {"audio": "mp4"},
            "weight": 1,
        },
        "sounds": {"path": f"{demo}/audio-text/*.tar", "modalities": ["audio", "text"], "weight": 1},
        "pictures": {"path": str(data / "pictures"), "modalities": ["image", "text"], "weight": 2},
    }
    config.write_text(json.dumps({"extends": "tiny", "data": {"sources": sources}}))
    words = ("--config", config, "train.steps=2", "train.global_batch=16", "--out", data / "out")
    done = inspect(*words, "modalities.text.max_tokens=24")
    assert done.code == 0, done.err
    return done.out, (data / "out" / "data.html").read_text()


def test_it_prints_what_is_in_each_source_and_what_a_run_sees(inspected: tuple[str, str]):
    text, _ = inspected

    wide = [line for line in text.splitlines() if len(line) > 80]
    assert all(re.match(r"(    /|page: )", line) for line in wide), "but for paths"
    flat = " ".join(text.split())
    for words in (
        r"source films: format webdataset, path .*\*\.tar",
        r"8 samples of audio, text, video",
        r"fields: mp4 \(8\), txt \(8\)",
        r"the same in all: .*video width 64 px, video height 64 px",
        r"text: 8 of 8 \(100\.0 %\) cut at max tokens",
        r"source pictures: format folder, path .*pictures",
        r"fields: jpg \(4\), txt \(4\)",
        r"cannot be used: 1 of 4 \(25\.0 %\)",
        r"1 x '2': .*JPEG",
        r"pictures 50\.0 % 16 4 4\b",
        r"tokens a step, estimated: audio [\d,.k]+ \(\d+\.\d %\)",
        r"warning: source 'pictures': 1 of 4 samples cannot be used",
    ):
        assert re.search(words, flat), f"{words} is not in\n{text}"


def test_its_page_shows_pictures_and_plays_sounds_that_can_be_decoded(inspected: tuple[str, str]):
    _, page = inspected
    shown = {
        kind: [base64.b64decode(each) for each in re.findall(f"data:{kind};base64,([A-Za-z0-9+/=]+)", page)]
        for kind in ("image/png", "audio/flac", "video/mp4", "image/jpeg", "audio/wav")
    }

    sizes = {Image.open(io.BytesIO(each)).size for each in shown["image/png"]}
    assert (144, 144) in sizes, "crops of 48 pixels, three times as large"
    assert any(width > 5 * height for width, height in sizes), "frames of a clip side by side"
    for each in shown["audio/flac"]:
        sound, rate = soundfile.read(io.BytesIO(each))
        assert rate == 16_000 and len(sound) > 1000 and 0.5 < abs(sound).max() <= 1
    stored = {kind: len(found) for kind, found in shown.items()}
    assert stored["video/mp4"] == 12, "six clips, and their sound once more"
    assert (stored["image/jpeg"], stored["audio/wav"]) == (3, 6), (
        "the picture that was cut short is not there"
    )
    assert "<mark>" in page, "hidden tokens of captions"


def test_a_bare_path_is_guessed_and_no_model_is_built(data: Path):
    path = f"{data}/demo/train/video-audio-text/*.tar"
    words = ["data", "inspect", path, "--samples", "2", "--out", str(data / "bare")]
    script = (
        "import sys, spectranet.cli\n"
        f"try:\n    spectranet.cli.main({words!r})\n"
        "finally:\n    print('imported:', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=280)

    text, _, imported = done.stdout.rpartition("imported: ")
    assert done.returncode == 0, done.stderr
    assert "8 samples of text, video" in text and "the run" not in text
    assert "'mp4' could give audio too" in done.stderr
    assert f"data.sources.video-audio-text.path='{path}'" in done.stderr
    assert "spectranet.survey.page" in imported.split()
    assert {"spectranet.model.build", "spectranet.train.run", "transformers"}.isdisjoint(imported.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere/*.tar"], "nowhere"),
        ([], "data.sources is empty"),
        (["a", "b"], "one path at a time"),
        (["--config", "tiny", "data.sources.a.path=x", "data.sources.a.modalitys=[text]"], "modalities"),
    ],
)
def test_mistakes_end_with_two_and_say_what_to_do(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    done = inspect(*words)

    assert done.code == 2 and says in done.err and "Traceback" not in done.err


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no sample data in {SHARED}")
def test_clips_with_sound_are_told_apart_by_several_values(tmp_path: Path):
    clips = SHARED / "clips" / "captions.jsonl"
    done = inspect(
        *("--config", "tiny", f"data.sources.clips.path={clips}", "--out", tmp_path, "--samples", 3),
        "data.sources.clips.modalities=[video,audio]",
        "data.sources.clips.fields={audio: video}",
        "data.sources.clips.where={source: [bunny, telescope]}",
    )

    assert done.code == 0, done.err
    assert "9 samples of audio, video" in done.out and "cannot be used" not in done.out
