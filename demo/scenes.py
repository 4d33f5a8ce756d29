"""Which scenes there are, how they are told in words, and which combinations are held out.

A scene is a shape with a colour, a size, a place and a background; in a clip it moves; a tone has a
timbre, a pitch, a pattern and what is heard behind it. Training and test scenes use the same words, but
certain *pairs* of them (the ``HELD_OUT_*`` sets) occur in test scenes only: to find a test scene by its
caption a model must have understood its words one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "BACKGROUNDS",
    "COLOURS",
    "HELD_OUT_LOOKS",
    "HELD_OUT_MOTIONS",
    "HELD_OUT_SOUNDS",
    "MOTIONS",
    "MOVING_SHAPES",
    "NOISES",
    "PATTERNS",
    "PITCHES_HZ",
    "PLACES",
    "SHAPES",
    "SIZES",
    "TIMBRES",
    "Clip",
    "Film",
    "Picture",
    "Tone",
    "caption",
    "test_scenes",
    "train_scene",
]

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "bar")
MOVING_SHAPES = SHAPES[:6]
COLOURS = {
    "red": (225, 35, 35),
    "orange": (255, 145, 0),
    "yellow": (250, 225, 40),
    "green": (40, 175, 60),
    "turquoise": (60, 215, 220),
    "blue": (40, 80, 235),
    "purple": (140, 50, 175),
    "pink": (255, 130, 190),
}
BACKGROUNDS = {
    "black": (12, 12, 14),
    "white": (246, 246, 246),
    "grey": (128, 128, 130),
    "brown": (105, 66, 36),
}
SIZES = {"small": 9.0, "large": 15.0}
"""Half of the shape's extent, in pixels of a 64-pixel picture."""
PLACES = {
    "on the left": (18, 32),
    "on the right": (46, 32),
    "at the top": (32, 18),
    "at the bottom": (32, 46),
    "in the middle": (32, 32),
}
"""Centre (x, y) in pixels."""
MOTIONS = (
    "moves to the right",
    "moves to the left",
    "rises",
    "sinks",
    "grows",
    "shrinks",
    "blinks",
    "goes round",
)

TIMBRES = ("pure", "hollow", "buzzing", "ringing")
PITCHES_HZ = {"very low": 80.0, "low": 160.0, "medium": 320.0, "high": 640.0, "very high": 1280.0}
PATTERNS = (
    "steady tone",
    "rising tone",
    "falling tone",
    "trembling tone",
    "short beep",
    "pair of beeps",
    "row of three beeps",
    "swelling tone",
)
NOISES = ("in silence", "over hiss", "over a hum")

# What a film's sound has to do with its picture, so that each can be found by the other.
PATTERN_OF_MOTION = dict(zip(MOTIONS, PATTERNS, strict=True))
PITCH_OF_COLOUR = dict(zip(COLOURS, [*PITCHES_HZ, *list(PITCHES_HZ)[:3]], strict=True))

# Every word of a pair occurs in training, in other company: the sets leave each word most of its partners.
HELD_OUT_LOOKS = frozenset(
    (shape, colour) for i, shape in enumerate(SHAPES) for k, colour in enumerate(COLOURS) if (i + k) % 8 == 3
)
HELD_OUT_LOOKS |= {("circle", "purple"), ("square", "pink"), ("triangle", "red"), ("star", "orange")}
HELD_OUT_MOTIONS = frozenset(
    (shape, motion)
    for i, shape in enumerate(MOVING_SHAPES)
    for k, motion in enumerate(MOTIONS)
    if (i + k) % 6 == 1
)
HELD_OUT_SOUNDS = frozenset(
    (timbre, pattern)
    for i, timbre in enumerate(TIMBRES)
    for k, pattern in enumerate(PATTERNS)
    if (2 * i + k) % 4 == 1 + i // 2
)


@dataclass(frozen=True)
class Picture:
    """A shape standing in front of a background."""

    shape: str
    colour: str
    size: str
    place: str
    background: str

    def held_out(self) -> bool:
        return (self.shape, self.colour) in HELD_OUT_LOOKS


@dataclass(frozen=True)
class Clip:
    """A shape that moves, one second long and silent."""

    shape: str
    colour: str
    motion: str
    background: str

    def held_out(self) -> bool:
        return (self.shape, self.motion) in HELD_OUT_MOTIONS

    def seen_look(self) -> bool:
        return (self.shape, self.colour) not in HELD_OUT_LOOKS


@dataclass(frozen=True)
class Tone:
    """A sound of at most one second."""

    timbre: str
    pitch: str
    pattern: str
    noise: str

    def held_out(self) -> bool:
        return (self.timbre, self.pattern) in HELD_OUT_SOUNDS


@dataclass(frozen=True)
class Film:
    """A clip and its sound track: the tone's pattern goes with the motion, its pitch with the colour."""

    clip: Clip
    tone: Tone

    def held_out(self) -> bool:
        return self.clip.held_out() or self.tone.held_out()


Scene = Picture | Clip | Tone | Film

_ALL = {
    Picture: (SHAPES, COLOURS, SIZES, PLACES, BACKGROUNDS),
    Clip: (MOVING_SHAPES, COLOURS, MOTIONS, BACKGROUNDS),
    Tone: (TIMBRES, PITCHES_HZ, PATTERNS, NOISES),
}


def train_scene(kind: type, rng: np.random.Generator) -> Scene:
    """A random scene of this kind without any held-out pair."""
    if kind is Film:
        clip = train_scene(Clip, rng)
        return Film(clip, _sound_track(clip, rng, held_out=False))
    while True:
        scene = kind(*(str(rng.choice(list(words))) for words in _ALL[kind]))
        if not scene.held_out() and (kind is not Clip or scene.seen_look()):
            return scene  # type: ignore[no-any-return]


def _sound_track(clip: Clip, rng: np.random.Generator, held_out: bool) -> Tone:
    """A tone that fits the clip; its timbre is held out with its pattern, or not, as asked."""
    pattern, pitch = PATTERN_OF_MOTION[clip.motion], PITCH_OF_COLOUR[clip.colour]
    timbres = [t for t in TIMBRES if ((t, pattern) in HELD_OUT_SOUNDS) == held_out]
    return Tone(str(rng.choice(timbres)), pitch, pattern, str(rng.choice(NOISES)))


def test_scenes(kind: type, count: int, rng: np.random.Generator) -> Sequence[Scene]:
    """``count`` different scenes, each with a held-out pair (a film: one in the clip, one in the tone).

    No two have all their words in common, so that a caption tells its scene from all others.
    """
    if kind is Film:
        clips = test_scenes(Clip, count, rng)
        return [Film(clip, _sound_track(clip, rng, held_out=True)) for clip in clips]
    every = [kind(*words) for words in itertools.product(*_ALL[kind])]
    fit = [scene for scene in every if scene.held_out() and (kind is not Clip or scene.seen_look())]
    if count > len(fit):
        raise ValueError(f"{count} test scenes wanted, only {len(fit)} {kind.__name__} scenes are held out")
    return [fit[i] for i in rng.permutation(len(fit))[:count]]


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of several natural ways to say all of the scene's words."""
    match scene:
        case Picture():
            forms = _PICTURE_FORMS
        case Clip():
            forms = _CLIP_FORMS
        case Tone():
            forms = _TONE_FORMS
        case Film():
            tone = str(rng.choice(_TONE_FORMS[:2])).format(**vars(scene.tone))
            return str(rng.choice(_JOINTS)).format(clip=caption(scene.clip, rng), tone=tone)
    form = str(rng.choice(forms))
    return _mend_articles(form.format(**vars(scene)))


def _mend_articles(text: str) -> str:
    return text.replace("a orange", "an orange")


_PICTURE_FORMS = (
    "a {size} {colour} {shape} {place}, {background} background",
    "a {size} {shape} in {colour} {place} of a {background} picture",
    "{place}, a {size} {colour} {shape} on {background}",
    "on a {background} background, a {size} {colour} {shape} {place}",
)
_CLIP_FORMS = (
    "a {colour} {shape} {motion} on a {background} background",
    "on {background}, a {colour} {shape} {motion}",
    "a {shape} in {colour} {motion}, {background} background",
)
_TONE_FORMS = (
    "a {pitch} {timbre} {pattern} {noise}",
    "a {timbre} {pattern} at {pitch} pitch, {noise}",
    "{noise}, a {timbre} {pattern}, {pitch}",
)
_JOINTS = (
    "{clip}; we hear {tone}",
    "{clip} while {tone} sounds",
    "{clip}, with the sound of {tone}",
)
