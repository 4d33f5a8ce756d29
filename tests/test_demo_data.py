"""The demo's data: real codecs, captions that tell the truth, and pairs of words that only tests have."""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import simplejpeg
import soundfile
import yaml

ROOT = Path(__file__).parents[1]

# The demo's modules import each other as scripts beside one another do.
sys.path.insert(0, str(ROOT / "demo"))
try:
    import drawing
    import scenes
    import tones
    import write_shards
finally:
    sys.path.remove(str(ROOT / "demo"))

KINDS = (scenes.Picture, scenes.Clip, scenes.Tone, scenes.Film)
VOCABULARY: Mapping[str, tuple[str, ...]] = {
    "shape": scenes.SHAPES,
    "colour": tuple(scenes.COLOURS),
    "size": tuple(scenes.SIZES),
    "place": tuple(scenes.PLACES),
    "background": tuple(scenes.BACKGROUNDS),
    "motion": scenes.MOTIONS,
    "timbre": scenes.TIMBRES,
    "pitch": tuple(scenes.PITCHES_HZ),
    "pattern": scenes.PATTERNS,
    "noise": scenes.NOISES,
}
SMALL = {name: replace(s, train=6, test=4) for name, s in write_shards.SOURCES.items()}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def words_of(scene: object) -> dict[str, str]:
    return words_of(scene.clip) | words_of(scene.tone) if isinstance(scene, scenes.Film) else vars(scene)


def words_in(text: str, names: Mapping[str, str]) -> dict[str, str]:
    """What a reader takes from a caption: of each vocabulary the longest entry that is in it."""
    found = {}
    for name in names:
        inside = [word for word in VOCABULARY[name] if re.search(rf"\b{word}\b", text)]
        found[name] = max(inside, key=len, default="nothing")
    return found


# ---------------------------------------------------------------------------------- words and scenes


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_says_every_word_of_its_scene_and_no_other(kind: type) -> None:
    draw = rng(1)
    for _ in range(300):
        scene = scenes.train_scene(kind, draw)
        text = scenes.caption(scene, draw)
        assert words_in(text, words_of(scene)) == words_of(scene), text
        assert not re.search(r"\ba [aeiou]", text), text


@pytest.mark.parametrize("kind", KINDS)
def test_one_scene_is_told_in_several_ways(kind: type) -> None:
    scene = scenes.train_scene(kind, rng())
    assert len({scenes.caption(scene, rng(seed)) for seed in range(60)}) >= 3


@pytest.mark.parametrize("kind", KINDS)
def test_no_training_scene_has_a_held_out_pair_but_every_word_is_trained(kind: type) -> None:
    draw = rng(2)
    drawn = [words_of(scenes.train_scene(kind, draw)) for _ in range(1500)]
    held_out = {
        ("shape", "colour"): scenes.HELD_OUT_LOOKS,
        ("shape", "motion"): scenes.HELD_OUT_MOTIONS,
        ("timbre", "pattern"): scenes.HELD_OUT_SOUNDS,
    }
    for pair, forbidden in held_out.items():
        if set(pair) <= set(drawn[0]):
            assert not forbidden & {(words[pair[0]], words[pair[1]]) for words in drawn}
    for name in drawn[0]:
        known = set(scenes.MOVING_SHAPES) if "motion" in drawn[0] and name == "shape" else {*VOCABULARY[name]}
        assert {words[name] for words in drawn} == known


@pytest.mark.parametrize(("name", "source"), write_shards.SOURCES.items())
def test_a_test_gallery_is_large_all_held_out_and_its_captions_differ(
    name: str, source: write_shards.Source
) -> None:
    gallery = scenes.test_scenes(source.kind, source.test, rng(3))

    assert len(gallery) == source.test >= 64
    assert len(set(gallery)) == len(gallery), "two items that no caption could tell apart"
    assert all(scene.held_out() for scene in gallery)
    draw = rng(4)
    assert len({scenes.caption(scene, draw) for scene in gallery}) == len(gallery)


def test_more_test_scenes_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="only 120 Tone scenes"):
        scenes.test_scenes(scenes.Tone, 121, rng())


@pytest.mark.parametrize("held_out", [False, True])
def test_the_sound_of_a_film_follows_from_its_picture(held_out: bool) -> None:
    films = scenes.test_scenes(scenes.Film, 50, rng()) if held_out else None
    for film in films or [scenes.train_scene(scenes.Film, rng(i)) for i in range(50)]:
        assert film.tone.pattern == scenes.PATTERN_OF_MOTION[film.clip.motion]
        assert film.tone.pitch == scenes.PITCH_OF_COLOUR[film.clip.colour]
        assert film.clip.held_out() == film.tone.held_out() == held_out


# ------------------------------------------------------------------------------- pictures and sounds


def colour_distance(image_HWC: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.linalg.norm(image_HWC.astype(float) - np.asarray(colour), axis=-1)


def cover(image_HWC: np.ndarray, colour: str, background: str) -> np.ndarray:
    """Where the shape is: pixels nearer to its colour than to its background's."""
    ink = colour_distance(image_HWC, scenes.COLOURS[colour])
    return ink < colour_distance(image_HWC, scenes.BACKGROUNDS[background])


def centre(inside_HW: np.ndarray) -> np.ndarray:
    """Mean (x, y) of the pixels of a shape."""
    return np.argwhere(inside_HW).mean(0)[::-1]


def test_a_picture_shows_its_colour_place_and_size_after_jpeg() -> None:
    draw, areas = rng(5), {"small": [], "large": []}
    for _ in range(80):
        scene = scenes.train_scene(scenes.Picture, draw)
        image = simplejpeg.decode_jpeg(write_shards.scene_files(scene, draw)["jpg"])
        assert image.shape == (drawing.SIDE, drawing.SIDE, 3)
        inside = cover(image, scene.colour, scene.background)
        ink = np.median(image[inside], axis=0)
        nearest = min(scenes.COLOURS, key=lambda name: np.linalg.norm(ink - scenes.COLOURS[name]))
        assert nearest == scene.colour
        assert np.abs(centre(inside) - scenes.PLACES[scene.place]).max() < 6
        if scene.shape == "square":
            areas[scene.size].append(inside.sum())
    assert max(areas["small"]) < min(areas["large"])


def test_shapes_look_different() -> None:
    masks = []
    for shape in scenes.SHAPES:
        scene = scenes.Picture(shape, "yellow", "large", "in the middle", "black")
        masks.append(cover(drawing.draw_picture(scene, rng(6)), "yellow", "black"))
    for one, other in combinations(masks, 2):
        assert (one & other).sum() / (one | other).sum() < 0.9
    assert all(mask.sum() > 100 for mask in masks)


@pytest.mark.parametrize(
    ("motion", "goes"),
    [
        ("moves to the right", (1, 0)),
        ("moves to the left", (-1, 0)),
        ("sinks", (0, 1)),
        ("rises", (0, -1)),
    ],
)
def test_a_clip_moves_as_it_says(motion: str, goes: tuple[int, int]) -> None:
    first, *_, last = masks_of(motion)
    way = centre(last) - centre(first)
    assert way @ goes == pytest.approx(36, abs=4)
    assert np.linalg.norm(way) == pytest.approx(abs(way @ goes), rel=0.05)


def test_a_clip_grows_shrinks_blinks_and_goes_round() -> None:
    grown, shrunk = ([mask.sum() for mask in masks_of(motion)] for motion in ("grows", "shrinks"))
    assert sorted(grown) == grown and grown[-1] > 5 * grown[0]
    assert sorted(shrunk, reverse=True) == shrunk and shrunk[0] > 5 * shrunk[-1]
    seen = [bool(mask.any()) for mask in masks_of("blinks")]
    assert seen == [True, True, False, False] * 3
    path = [centre(mask) for mask in masks_of("goes round")]
    assert np.linalg.norm(path[0] - path[-1]) < 3
    assert max(np.linalg.norm(a - b) for a, b in combinations(path, 2)) == pytest.approx(30, abs=2)


def masks_of(motion: str) -> list[np.ndarray]:
    clip = scenes.Clip("circle", "yellow", motion, "black")
    return [cover(frame, "yellow", "black") for frame in drawing.draw_clip(clip, rng(7))]


def spectrum(wave_S: np.ndarray) -> np.ndarray:
    """Magnitude at whole numbers of hertz."""
    return np.abs(np.fft.rfft(wave_S * np.hanning(len(wave_S)), n=tones.RATE_HZ))


def loudest_hz(wave_S: np.ndarray) -> int:
    return int(spectrum(wave_S).argmax())


@pytest.mark.parametrize("pitch", scenes.PITCHES_HZ)
def test_a_tone_has_its_pitch_and_tones_glide_as_they_say(pitch: str) -> None:
    hz = scenes.PITCHES_HZ[pitch]
    half = tones.RATE_HZ // 4
    for pattern, glide in (("steady tone", 0.0), ("rising tone", 0.8), ("falling tone", -0.8)):
        wave = tones.play(scenes.Tone("pure", pitch, pattern, "in silence"), rng(8), duration_s=1.0)
        parts = [loudest_hz(part) for part in (wave[:half], wave[-half:])]
        assert abs(np.log2(np.sqrt(parts[0] * parts[1]) / hz)) < 0.25
        assert np.log2(parts[1] / parts[0]) == pytest.approx(0.75 * glide, abs=0.13)


def test_patterns_differ_in_how_loudness_runs() -> None:
    runs = {}
    for pattern in scenes.PATTERNS:
        wave = tones.play(scenes.Tone("pure", "high", pattern, "in silence"), rng(9), duration_s=1.0)
        loud = np.abs(wave).reshape(50, -1).max(1) > 0.25 * np.abs(wave).max()
        runs[pattern] = int((np.diff(loud.astype(int), prepend=0) == 1).sum()), loud.mean()
    assert [runs[p][0] for p in ("short beep", "pair of beeps", "row of three beeps")] == [1, 2, 3]
    assert runs["trembling tone"][0] >= 8
    assert runs["steady tone"][1] > 0.95 and runs["steady tone"][0] == 1
    assert 0.4 < runs["swelling tone"][1] < 0.6 and runs["swelling tone"][0] == 1


def test_timbres_differ_in_their_partials_and_noises_in_what_is_under_the_tone() -> None:
    partials = {}
    for timbre in scenes.TIMBRES:
        wave = tones.play(scenes.Tone(timbre, "medium", "steady tone", "in silence"), rng(10), duration_s=1.0)
        heights = spectrum(wave)
        first = int(heights[: 2 * 320].argmax())
        near = {r: heights[round(r * first) - 4 : round(r * first) + 5].max() for r in (1, 2, 2.76, 3)}
        partials[timbre] = {r for r, height in near.items() if height > 0.1 * near[1]}
    assert partials == {"pure": {1}, "hollow": {1, 3}, "buzzing": {1, 2, 3}, "ringing": {1, 2.76}}

    hum, hiss = {}, {}
    for noise in scenes.NOISES:
        tone = scenes.Tone("pure", "high", "short beep", noise)
        before = spectrum(tones.play(tone, rng(11), duration_s=1.0)[:5000])
        hum[noise], hiss[noise] = before[50:90].max(), before[1000:].mean()
    assert max(hum, key=hum.get) == "over a hum" and hum["over a hum"] > 10 * hum["over hiss"]
    assert max(hiss, key=hiss.get) == "over hiss" and hiss["over hiss"] > 10 * hiss["over a hum"]
    assert max(hum["in silence"], hiss["in silence"]) < 0.1 * hiss["over hiss"]


# --------------------------------------------------------------------------------------------- files


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo") / "data"
    assert write_shards.write_data(directory, sources=SMALL, processes=1)
    return directory


def files_in(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def samples(tar_path: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(tar_path) as tar:
        for member in tar.getmembers():
            key, _, extension = member.name.partition(".")
            found.setdefault(key, {})[extension] = tar.extractfile(member).read()  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", SMALL)
def test_shards_are_ustar_with_a_sample_in_consecutive_members(data: Path, split: str, name: str) -> None:
    (shard,) = (data / split / name).glob("*.tar")
    with tarfile.open(shard) as tar:
        names = tar.getnames()
        assert all(member.isreg() and member.mtime == 0 for member in tar)
    media = {"image-text": "jpg", "audio-text": "wav"}.get(name, "mp4")
    count = SMALL[name].train if split == "train" else SMALL[name].test
    assert names == [f"{i:06d}.{extension}" for i in range(count) for extension in (media, "txt")]
    assert shard.read_bytes()[257:263] == b"ustar\0"


@pytest.mark.parametrize(("name", "sounds"), [("video-text", False), ("video-audio-text", True)])
def test_clips_are_h264_and_films_have_an_aac_track(data: Path, name: str, sounds: bool) -> None:
    for sample in samples(data / "train" / name / "000.tar").values():
        with av.open(io.BytesIO(sample["mp4"])) as container:
            (video,) = container.streams.video
            assert video.codec_context.name == "h264"
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video)]
            assert np.stack(frames).shape == (drawing.FRAMES, drawing.SIDE, drawing.SIDE, 3)
            assert float(video.duration * video.time_base) == pytest.approx(1.0, abs=0.01)
        with av.open(io.BytesIO(sample["mp4"])) as container:
            assert len(container.streams.audio) == sounds
            if sounds:
                (track,) = container.streams.audio
                wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(track)])
                assert (track.codec_context.name, track.rate, track.channels) == ("aac", tones.RATE_HZ, 1)
                assert tones.RATE_HZ <= len(wave) <= 1.2 * tones.RATE_HZ
                assert np.abs(wave).max() > 0.1, "a silent track"


def test_the_track_of_a_film_is_its_tone_after_aac() -> None:
    tone = scenes.Tone("pure", "high", "steady tone", "in silence")
    film = scenes.Film(scenes.Clip("star", "red", "grows", "black"), tone)
    with av.open(io.BytesIO(write_shards.scene_files(film, rng(12))["mp4"])) as container:
        wave = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert abs(np.log2(loudest_hz(wave) / scenes.PITCHES_HZ["high"])) < 0.2


def test_sounds_are_16_khz_pcm_of_at_most_a_second(data: Path) -> None:
    for sample in samples(data / "train" / "audio-text" / "000.tar").values():
        with soundfile.SoundFile(io.BytesIO(sample["wav"])) as file:
            assert (file.format, file.subtype, file.samplerate, file.channels) == ("WAV", "PCM_16", 16_000, 1)
            assert 0.8 * 16_000 <= file.frames <= 16_000
            assert 0.1 < np.abs(file.read()).max() < 0.99, "silent or clipped"


def test_the_same_seed_gives_the_same_bytes_however_many_processes_write(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "demo"))  # for the processes, as the script's own folder is
    assert write_shards.write_data(tmp_path / "again", sources=SMALL, processes=2)
    assert files_in(tmp_path / "again") == files_in(data)


def test_a_clip_is_encoded_to_the_same_bytes_every_time() -> None:
    draw = rng(13)
    for _ in range(25):
        frames = drawing.draw_clip(scenes.train_scene(scenes.Clip, draw), draw)
        assert len({write_shards.encode.mp4(frames) for _ in range(4)}) == 1


def test_another_seed_gives_other_samples_and_no_sample_comes_twice(data: Path, tmp_path: Path) -> None:
    write_shards.write_data(tmp_path / "other", sources=SMALL, seed=1, processes=1)
    shards = [p for p in files_in(data) if p.endswith(".tar")]
    assert all((tmp_path / "other" / p).read_bytes() != (data / p).read_bytes() for p in shards)
    contents = [s["jpg"] for p in shards if "image-text" in p for s in samples(data / p).values()]
    assert len(set(contents)) == len(contents) == 10


def test_data_that_is_there_stays_and_data_of_another_kind_is_replaced(tmp_path: Path) -> None:
    one = {"audio-text": SMALL["audio-text"]}
    target = tmp_path / "data"
    assert write_shards.write_data(target, sources=one, processes=1)
    before = (target / "manifest.json").stat().st_mtime_ns
    assert not write_shards.write_data(target, sources=one, processes=1)
    assert (target / "manifest.json").stat().st_mtime_ns == before

    (target / "train" / "old.tar").touch()
    assert write_shards.write_data(target, sources=one, seed=1, processes=1)
    assert json.loads((target / "manifest.json").read_text())["seed"] == 1
    assert not (target / "train" / "old.tar").exists()


def test_a_killed_writer_leaves_no_data_and_the_next_one_clears_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"audio-text": SMALL["audio-text"]}
    target = tmp_path / "data"

    def dies(scene: object, generator: object) -> dict[str, bytes]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(write_shards, "scene_files", dies)
        write_shards.write_data(target, sources=one, processes=1)
    assert not target.exists()

    assert write_shards.write_data(target, sources=one, processes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_configuration_reads_what_is_written() -> None:
    config = yaml.safe_load((ROOT / "demo" / "demo.yaml").read_text())
    for split, section in (("train", "data"), ("test", "eval")):
        of_split = config[section]["sources"]
        assert set(of_split) == set(write_shards.SOURCES)
        for name, source in of_split.items():
            assert source["path"] == f"runs/demo/data/{split}/{name}/*.tar"
            assert source["modalities"] == name.split("-")


def test_demo_modules_declare_what_others_use() -> None:
    modules: tuple[ModuleType, ...] = (drawing, scenes, tones, write_shards)
    for module in modules:
        assert all(hasattr(module, name) for name in module.__all__), module.__name__
