"""A plugin that stands still where a test wants it: in the phase that ``AIM`` names, at its n-th time.

``AIM`` is ``PHASE:N:RANKS:FOLDER``. A rank that gets there writes ``FOLDER/reached-RANK`` and waits
for ``FOLDER/go-on``; a test sends its signal in between. Data, modality and objective are the core tests'
toys.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import toy

from spectranet import Task, hookimpl, option

__all__ = ["reach"]

_COMINGS: Counter[str] = Counter()


def reach(phase: str) -> None:
    """Stand still here if the test aims at it."""
    _COMINGS[phase] += 1
    aim, number, ranks, folder = (os.environ.get("AIM") or ":0::").split(":", 3)
    rank = os.environ.get("RANK", "0")
    if phase != aim or _COMINGS[phase] != int(number) or rank not in ranks.split(","):
        return
    (Path(folder) / f"reached-{rank}").touch()
    while not (Path(folder) / "go-on").exists():
        time.sleep(0.01)


class Encoder(toy.ToyEncoder):
    def init_weights(self) -> None:
        reach("set-up")
        super().init_weights()
        self.register_state_dict_pre_hook(lambda *_: reach("save"))

    def forward(self, inputs):
        if torch.is_grad_enabled():
            reach("forward")
        return super().forward(inputs)


def decode(data: bytes):
    reach("data")
    return toy.decode(data)


@dataclass
class LookConfig:
    sources: int = option(1, "how many are looked at")


def look(model, data, config: LookConfig) -> dict[str, float]:
    seen = 0
    for name in data.names():
        for batch in data.batches(name):
            reach("evaluation")
            seen += len(batch)
    return {"seen": float(seen)}


@hookimpl
def spectranet_modalities():
    left = toy.toy_modality("left")
    return [replace(left, decode=decode, build_encoder=lambda config, trunk=None: Encoder(config.width))]


@hookimpl
def spectranet_objectives():
    return [replace(toy.MASKED, name="mmm")]


@hookimpl
def spectranet_tasks():
    return [Task("look", LookConfig, ("seen",), look)]


reach("imports")
