"""Rank script: batches that leave an objective nothing to ask, on one rank of two or on both; argv: OUT.

Saves {case: (losses by term, worst error of a parameter's gradient, relative to the whole one)}. Errors
are against a step of one process, by hand and in float64, on the batches of both ranks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from cut_and_compare import configured, draw_samples, micro_batches, plain_gradient, whole

from spectranet.contracts import Batch, ModalityBatch
from spectranet.train.distributed import leave, start_world
from spectranet.train.objective_pass import ObjectivePass, coefficients
from spectranet.train.optimizer import fill_gradients
from spectranet.train.parallel.parallelize import build_sharded


def nothing_hidden(one: ModalityBatch) -> None:
    one.hidden_BH, one.hidden_valid_BH = one.hidden_BH[:, :0], one.hidden_valid_BH[:, :0]


def nothing_valid_hidden(one: ModalityBatch) -> None:
    one.hidden_valid_BH = torch.zeros_like(one.hidden_valid_BH)


def one_token(one: ModalityBatch) -> None:
    if "ids" not in one.data:
        return
    one.data = {name: tensor[:, :1] for name, tensor in one.data.items()}
    for field in fields(one):
        if field.name not in ("data", "content_B"):
            setattr(one, field.name, getattr(one, field.name)[:, :1])
    one.visible_BV = torch.zeros_like(one.visible_BV)
    one.visible_valid_BV = torch.ones_like(one.visible_valid_BV)
    nothing_hidden(one)


def ended_after_one_token(one: ModalityBatch) -> None:
    if "ids" not in one.data:
        return
    one.valid_BN = one.valid_BN.clone()
    one.valid_BN[:, 1:] = False
    one.visible_valid_BV = one.visible_BV == 0
    nothing_valid_hidden(one)


def one_segment(one: ModalityBatch) -> None:
    one.segment_BN = one.segment_BN.clamp(max=0)


def no_segment(one: ModalityBatch) -> None:
    one.segment_BN = torch.full_like(one.segment_BN, -1)


def everything(one: ModalityBatch) -> None:
    no_segment(one)
    nothing_hidden(one)
    one_token(one)


CASES = (
    nothing_hidden,
    nothing_valid_hidden,
    one_token,
    ended_after_one_token,
    one_segment,
    no_segment,
    everything,
)


def emptied(batches: list[Batch], empty: Callable[[ModalityBatch], None]) -> list[Batch]:
    for batch in batches:
        for one in batch.modalities.values():
            empty(one)
    return batches


def main() -> None:
    config, parts = configured()
    world = start_world("cpu", 1)
    drawn = draw_samples(config, parts)
    model = build_sharded(config, parts, world)
    passes = ObjectivePass(model, world, coefficients(config))
    found = {}
    for empty in CASES:
        for where, ranks in {"one": (1,), "both": (0, 1)}.items():

            def batches_of(rank: int, empty=empty, ranks=ranks) -> list[Batch]:
                some = micro_batches(drawn, parts, 4, rank, 2)[:3]
                return emptied(some, empty) if rank in ranks else some

            losses = passes(batches_of(world.rank)).reduce(world, passes.term_coefficients)
            fill_gradients(model.parameters())
            ours = {name: whole(p.grad).double() for name, p in model.named_parameters()}
            model.zero_grad()
            if world.is_main:
                exact, _ = plain_gradient(config, parts, batches_of(0) + batches_of(1))
                norm = torch.stack([each.norm() for each in exact.values() if each is not None]).norm()
                wrong = [
                    ours[name].norm() if each is None else (ours[name] - each).norm()
                    for name, each in exact.items()
                ]
                terms = {name: value for name, value in losses.items() if name.startswith("loss/")}
                found[f"{empty.__name__} on {where}"] = (terms, float(torch.stack(wrong).max() / norm))
    if world.is_main:
        Path(sys.argv[1]).write_text(json.dumps(found))
    leave(0)


if __name__ == "__main__":
    main()
