"""Inertial-text pairs to learn from: simulated people, and captions of what they do.

    python -m spectranet_inertial.samples samples

writes ``samples/train.jsonl``, ``samples/held_out.jsonl`` and the recordings beside them, half of them CSV
at the rates of several devices, half NPY at 50 Hz. Held-out people occur in no training recording, and no
two held-out recordings show the same activity at the same pace with the device in the same place.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spectranet_inertial.activities import ACTIVITIES, PLACEMENTS, Activity, Placement
from spectranet_inertial.motion import Person, simulate
from spectranet_inertial.recording import CHANNELS

__all__ = ["example", "write_samples"]

_NPY_HZ = 50.0
_CSV_HZ = (50.0, 64.0, 100.0)
_PACES = {"slowly": 0.82, "": 1.0, "quickly": 1.2}
_PACE_WORDS = {"slowly": ("slowly", "at a slow pace"), "": ("",), "quickly": ("quickly", "at a fast pace")}
_WHO = ("a person", "someone", "a woman", "a man")
_DEVICES = ("phone", "sensor", "device")

Scene = tuple[str, str, str]
"""Activity, pace and placement, by name."""


def scenes() -> list[Scene]:
    """Everything that can be told apart: 22 ways to move, times three placements."""
    ways = [
        (name, pace)
        for name, activity in ACTIVITIES.items()
        for pace in (("slowly", "quickly") if activity.paces else ("",))
    ]
    return [(name, pace, placement) for name, pace in ways for placement in PLACEMENTS]


def write_samples(folder: Path, people: int = 20, held_out: int = 4, seed: int = 0) -> dict[str, int]:
    """Write both manifests; returns how many recordings each has. The same arguments give the same files.

    Every training person does every scene once; a held-out scene is done once, by one of the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    everyone = [Person.draw(rng) for _ in range(people + held_out)]
    plan = {
        "train": [(person, scene) for person in range(people) for scene in scenes()],
        "held_out": [(people + number % held_out, scene) for number, scene in enumerate(scenes())],
    }
    for split, recordings in plan.items():
        (folder / split).mkdir(exist_ok=True)
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as manifest:
            for number, (person, scene) in enumerate(recordings):
                # A generator of its own: a recording does not change when others are added.
                own = np.random.default_rng((seed, person, scenes().index(scene)))
                content, extension = _recording(scene, everyone[person], own)
                name = f"{split}/{number:05d}.{extension}"
                (folder / name).write_bytes(content)
                row = {"inertial": name, "text": caption(scene, own), "person": person}
                manifest.write(json.dumps(row) + "\n")
    return {split: len(recordings) for split, recordings in plan.items()}


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """One of many wordings of a scene."""
    name, pace, place = scene

    def pick(words: tuple[str, ...]) -> str:
        return words[int(rng.integers(len(words)))]

    what = f"{pick(ACTIVITIES[name].words)} {pick(_PACE_WORDS[pace])}".strip()
    who, device, where = pick(_WHO), pick(_DEVICES), pick(PLACEMENTS[place].words)
    if rng.random() < 0.5:
        return f"{who} {what}, {device} {where}"
    return f"{device} {where}: {who} {what}"


def example(rng: np.random.Generator) -> bytes:
    """A CSV file of 2 to 5 s of somebody doing something."""
    name, pace, place = scenes()[int(rng.integers(len(scenes())))]
    time_T = np.arange(int(rng.uniform(2, 5) * 50)) / 50
    return _csv(time_T, _motion(name, pace, place, Person.draw(rng), time_T, rng))


def _recording(scene: Scene, person: Person, rng: np.random.Generator) -> tuple[bytes, str]:
    duration_s = rng.uniform(5, 8)
    if rng.random() < 0.5:
        time_T = np.arange(int(duration_s * _NPY_HZ)) / _NPY_HZ
        file = io.BytesIO()
        np.save(file, _motion(*scene, person, time_T, rng))
        return file.getvalue(), "npy"
    rate_hz = float(rng.choice(_CSV_HZ))
    time_T = np.arange(int(duration_s * rate_hz)) / rate_hz
    if rng.random() < 0.3:  # time stamps of an app on a busy phone
        time_T = time_T + rng.uniform(-0.3, 0.3, len(time_T)) / rate_hz
        time_T -= time_T[0]
    return _csv(time_T, _motion(*scene, person, time_T, rng)), "csv"


def _motion(
    name: str, pace: str, place: str, person: Person, time_T: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    activity: Activity = ACTIVITIES[name]
    placement: Placement = PLACEMENTS[place]
    return simulate(activity, placement, person, time_T, rng, _PACES[pace])


def _csv(time_T: np.ndarray, signal_TC: np.ndarray) -> bytes:
    def lines() -> Iterator[str]:
        yield ",".join(("time", *CHANNELS))
        for time, row in zip(time_T.tolist(), signal_TC.tolist(), strict=True):
            yield f"{time:.4f}," + ",".join(f"{value:.4f}" for value in row)

    return ("\n".join(lines()) + "\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write simulated inertial-text pairs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=20, help="whose recordings are trained on")
    parser.add_argument("--held-out", type=int, default=4, help="whose recordings are kept for evaluation")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    written = write_samples(given.folder, given.people, given.held_out, given.seed)
    for split, count in written.items():
        print(f"{given.folder / split}.jsonl: {count} recordings")


if __name__ == "__main__":
    main()
