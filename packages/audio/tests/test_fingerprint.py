"""The hash on sounds made here."""

from __future__ import annotations

import numpy as np

from spectranet_audio.decoding import decode
from spectranet_audio.example import example
from spectranet_audio.fingerprint import fingerprint


def bits_apart(one: int, two: int) -> int:
    return (one ^ two).bit_count()


def test_it_is_a_function_of_the_sound_alone_and_fits_64_bits(rng) -> None:
    sound = decode(example(rng))
    value = fingerprint(sound)
    assert value == fingerprint(np.array(sound)) and 0 < value < 2**64


def test_loudness_does_not_matter_and_faint_noise_little(rng) -> None:
    for _ in range(10):
        sound = np.asarray(decode(example(rng)))
        noisy = sound + 1e-3 * rng.standard_normal(len(sound)).astype(np.float32)
        assert bits_apart(fingerprint(0.2 * sound), fingerprint(sound)) <= 1
        assert bits_apart(fingerprint(noisy), fingerprint(sound)) <= 4


def test_different_sounds_differ(rng) -> None:
    values = [fingerprint(decode(example(rng))) for _ in range(12)]
    apart = [bits_apart(one, two) for place, one in enumerate(values) for two in values[:place]]
    assert min(apart) >= 6 and np.median(apart) > 20


def test_silence_and_one_sample_have_a_hash() -> None:
    assert fingerprint(np.zeros(16_000, np.float32)) == fingerprint(np.zeros(1, np.float32))
