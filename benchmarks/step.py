"""What a training step costs: against a bare loop of the same model, and queries against all tokens.

    python benchmarks/step.py [--quick]

``step.cpu_vs_bare_loop``: CPU time of our step (FSDP2 on one rank, counted denominators, clipping,
fused AdamW, journal) over that of a hand-written loop of the same model on the same batches.
``step.query_vs_full_decoder``: forward and backward of the query decoder over those of a decoder
over all tokens (self-attention among them and an MLP; same width, depth and MLP, no cross-attention
to pay for), each with the mask tokens of MMM at 15 % and, in ours, the caption queries on top.
``step.query_vs_full_decoder_masked_only`` leaves the caption queries out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from interleaved import figure, measure, table
from torch import Tensor, nn

from spectranet.config import Config, Resolved, load_config
from spectranet.config.schema import DecoderConfig
from spectranet.contracts import Batch, Queries
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, Viewer
from spectranet.model.build import Parts, build_model, initialise_model, select_parts
from spectranet.model.decoder import MLP, CrossModalDecoder, Memory, SelfAttention, make_norm
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import leave, start_world
from spectranet.train.journal import Journal
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.optimizer import build_optimizer, clip_gradients
from spectranet.train.parallelize import build_sharded

SOURCES = {"image-text": ("image", "text"), "audio-text": ("audio", "text"), "video-text": ("video", "text")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 45 s on two cores")
    budget_s = 12.0 if parser.parse_args().quick else 120.0
    torch.set_num_threads(1)  # waiting threads would count as CPU time
    compare_decoders(budget_s)
    compare_loops(budget_s)
    leave(0)


# ------------------------------------------------------------------------ query decoder, all tokens


class FullDecoder(nn.Module):
    """A decoder over all tokens: every token attends to every other in every layer."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([make_norm(config), SelfAttention(config), make_norm(config), MLP(config)])
            for _ in range(config.layers)
        )

    def forward(self, x_BND: Tensor, may_see: Tensor) -> Tensor:
        for norm, attention, mlp_norm, mlp in self.layers:  # type: ignore[misc]
            x_BND = x_BND + attention(norm(x_BND), may_see)
            x_BND = x_BND + mlp(mlp_norm(x_BND))
        return x_BND


def compare_decoders(budget_s: float) -> None:
    """An image of 196 patches and a caption of 32 tokens, eight samples, decoder of width 512."""
    config = DecoderConfig(width=512, layers=4, heads=8, mlp_hidden=1376)
    samples, image, text = 8, 196, 32
    hidden = round(0.15 * (image + text))
    ours, full = CrossModalDecoder(config), FullDecoder(config)
    visible = image + text - hidden
    memory = Memory(
        torch.randn(samples, 1 + visible, config.width, requires_grad=True),
        torch.ones(samples, 1 + visible, dtype=torch.bool),
        {"": (0, 1), "image": (1, image - 29 + 1), "text": (image - 29 + 1, 1 + visible)},
    )

    def queries(group: str, count: int, causal: bool, reads: tuple[str, ...]) -> Queries:
        tokens = torch.randn(samples, count, config.width, requires_grad=True)
        return Queries(group, tokens, torch.ones(samples, count, dtype=torch.bool), reads, causal=causal)

    masked = queries("mmm", hidden, False, ("image", "text"))
    caption = queries("captioning", text - 1, True, ("image",))
    all_tokens = torch.randn(samples, image + text, config.width, requires_grad=True)
    everything = torch.ones(samples, 1, image + text, image + text, dtype=torch.bool)

    def backward(states: Sequence[Tensor]) -> None:
        sum(s.square().mean() for s in states).backward()  # type: ignore[union-attr]

    timings = measure(
        {
            "queries: masked + caption": lambda: backward(ours([masked, caption], memory)),
            "queries: masked only": lambda: backward(ours([masked], memory)),
            "all tokens": lambda: backward([full(all_tokens, everything)]),
        },
        rounds=30,
        budget_s=budget_s,
    )
    table("Decoder, forward and backward, 15 % masked", timings)
    full_time = timings["all tokens"]
    figure("step.query_vs_full_decoder", timings["queries: masked + caption"].ratio_to(full_time), "x")
    masked_only = timings["queries: masked only"].ratio_to(full_time)
    figure("step.query_vs_full_decoder_masked_only", masked_only, "x")


# ------------------------------------------------------------------------------- our step, bare loop


def compare_loops(budget_s: float) -> None:
    """The preset ``tiny``, one source a slot, 32 samples a slot."""
    resolved, parts = tiny()
    config = resolved.config
    batches = [example_batch(config, parts, source, 32) for source in SOURCES]
    with tempfile.TemporaryDirectory() as folder:
        timings = measure(
            {
                "our step": our_step(config, parts, batches, Path(folder)),
                "bare loop": bare_step(config, parts, batches),
            },
            rounds=30,
            budget_s=budget_s,
        )
    table("One step of preset tiny, 3 micro-batches of 32 samples", timings)
    figure("step.cpu_vs_bare_loop", timings["our step"].ratio_to(timings["bare loop"]), "x")


def tiny() -> tuple[Resolved, Parts]:
    overrides = ["objectives.contrastive=null", "objectives.captioning={}", "tasks.retrieval=null"]
    for source, modalities in SOURCES.items():
        overrides.append(f"data.sources.{source}.modalities=[{','.join(modalities)}]")
        overrides.append(f"data.sources.{source}.path=unused.jsonl")
    resolved = load_config(["tiny"], overrides)
    host = resolved.host
    return resolved, select_parts(resolved.config, host.modalities, host.objectives)


def example_batch(config: Config, parts: Parts, source: str, size: int) -> Batch:
    """The modalities' own examples, through their real decoders, transforms and masks."""
    names = sorted(SOURCES[source])
    viewers = {n: Viewer.of(parts.modalities[n], config.modalities[n], train=True, ratio=0.15) for n in names}
    rng = np.random.default_rng(0)
    samples = [
        Sample(str(i), {n: viewers[n].view(parts.modalities[n].example(rng), (i, n)) for n in names})
        for i in range(size)
    ]
    return collate(samples, parts.modalities, source=source, ids=range(size))


def our_step(config: Config, parts: Parts, batches: list[Batch], folder: Path) -> Callable[[], None]:
    world = start_world("cpu", torch.get_num_threads())
    model = build_sharded(config, parts, world)
    optimizer = build_optimizer(model, config.train.optimizer)
    passes = ObjectivePass(model, world, dict.fromkeys(parts.objectives, 1.0))
    journal = Journal(folder, 1000, 0, world)

    def step() -> None:
        losses = passes(batches)
        clip_gradients(model, 1.0).item()
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
        journal.record(1, losses.reduce(world, passes.term_coefficients))

    return step


def bare_step(config: Config, parts: Parts, batches: list[Batch]) -> Callable[[], None]:
    """The loop that one would write by hand for this model on one device."""
    model: SpectraNet = build_model(config, parts)
    initialise_model(model, 0, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        for batch in batches:
            encoded = model.encode(batch)
            asked = {name: o.queries(batch, encoded) for name, o in model.objectives.items()}  # type: ignore[operator]
            states = model.decode({n: q for n, q in asked.items() if q is not None}, encoded)
            total = torch.zeros(())
            for name, objective in model.objectives.items():
                for loss in objective.loss(states.get(name), encoded, batch).values():  # type: ignore[operator]
                    total = total + loss.sum / max(loss.weight, 1.0)
            total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
