"""The arithmetic that MFU counts is what torch counts, within 5 %: each encoder, the decoder, a whole step.

Torch's table lacks the CPU's fused attention, so attention runs as the products that it stands for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spectranet.config import Config, load_config
from spectranet.contracts import Batch
from spectranet.data.collate import collate
from spectranet.data.pipeline import Sample, Viewer
from spectranet.model.build import Parts, build_model, initialise_model, select_parts
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import start_world
from spectranet.train.objective_pass import ObjectivePass
from spectranet.train.watch.flops import FORWARD_AND_BACKWARD, EncoderFlops, decoder_flops
from spectranet.train.watch.watch import Watch

SOURCES = {"pictures": ["image", "text"], "clips": ["audio", "text", "video"]}
SAMPLES = 4


@pytest.fixture(scope="module")
def made() -> tuple[Config, Parts, SpectraNet]:
    """Wider than `tiny`, so that no part is lost beside another; every objective that has heads."""
    overrides = ["objectives.captioning={}", "tasks.retrieval=null", "train.global_batch=8", "train.slots=2"]
    overrides += ["model.decoder.width=192", "modalities.text.width=192", "trunks.vit.width=192"]
    # The counter takes the weight gradient of a grouped convolution for that of an ungrouped one.
    overrides += ["modalities.audio.num_conv_pos_embedding_groups=1"]
    for source, modalities in SOURCES.items():
        overrides.append(f"data.sources.{source}.modalities=[{','.join(modalities)}]")
        overrides.append(f"data.sources.{source}.path=unused.jsonl")
    resolved = load_config(["tiny"], overrides)
    parts = select_parts(resolved.config, resolved.host.modalities, resolved.host.objectives)
    model = build_model(resolved.config, parts)
    initialise_model(model, 0, torch.device("cpu"))
    return resolved.config, parts, model


def batch_of(config: Config, parts: Parts, source: str, first: int = 0) -> Batch:
    """The same example again and again, so that nothing is padding."""
    viewers = {
        name: Viewer.of(parts.modalities[name], config.modalities[name], train=False, ratio=0.25)
        for name in sorted(SOURCES[source])
    }
    data = {name: parts.modalities[name].example(np.random.default_rng(0)) for name in viewers}
    views = [{name: viewers[name].view(data[name], (0, name)) for name in viewers} for _ in range(SAMPLES)]
    samples = [Sample(str(i), view) for i, view in enumerate(views)]
    return collate(samples, parts.modalities, source=source, ids=range(first, first + SAMPLES))


def counted(model: SpectraNet, work) -> int:
    model.zero_grad()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize("source, name", [(s, n) for s, names in SOURCES.items() for n in names])
def test_an_encoder_declares_what_it_computes(made, source, name):
    config, parts, model = made
    batch = batch_of(config, parts, source)
    batch.modalities = {name: batch.modalities[name]}
    one = batch.modalities[name]
    visible = one.visible_valid_BV.sum(1).tolist()
    assert one.valid_BN.all() and one.visible_valid_BV.all()
    declared = EncoderFlops(config, parts.modalities)(name, one.valid_BN.sum(1).tolist(), visible)

    with torch.no_grad():
        forward = counted(model, lambda: model.encode(batch))
    both = counted(model, lambda: model.encode(batch)[name].tokens_BND.sum().backward())

    assert declared == pytest.approx(forward, rel=0.05)
    assert FORWARD_AND_BACKWARD * declared == pytest.approx(both, rel=0.05)


@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
def test_the_decoder_takes_what_its_formula_says(made, mlp):
    config, parts, _ = made
    decoder = replace(config.model.decoder, mlp=mlp)
    config = replace(config, model=replace(config.model, decoder=decoder))
    model = build_model(config, parts)
    initialise_model(model, 0, torch.device("cpu"))
    batch = batch_of(config, parts, "clips")
    encoded = model.encode(batch)
    for one in encoded.values():
        one.tokens_BND = one.tokens_BND.detach().requires_grad_()
    groups = {"mmm": model.objectives["mmm"].queries(batch, encoded)}
    widths = {name: encoder.width for name, encoder in model.encoders.items()}
    formula = decoder_flops(decoder, widths, [*groups.values()], model.memory(encoded)).item()

    with torch.no_grad():
        forward = counted(model, lambda: model.decode(groups, encoded))
    both = counted(model, lambda: model.decode(groups, encoded)["mmm"].sum().backward())

    assert formula == pytest.approx(forward, rel=0.05)
    assert FORWARD_AND_BACKWARD * formula == pytest.approx(both, rel=0.05)


def test_a_whole_step_is_counted_once_whatever_is_computed_again(made, tmp_path):
    config, parts, model = made
    config = replace(config, run_dir=str(tmp_path))
    world = start_world("cpu", 1)
    watch = Watch(config, parts, model, world)
    coefficients = dict.fromkeys(parts.objectives, 1.0)
    step = [batch_of(config, parts, source, i * SAMPLES) for i, source in enumerate(SOURCES)]
    found = {}
    for kept in (True, False):
        passes = ObjectivePass(model, world, coefficients, keep_encoded=kept)
        for _, batches in watch.steps([step], 0):
            computed = counted(model, partial(passes, batches))
            watch.saw(batches)
        figures = watch.figures()
        found[kept] = computed, figures["tflops_per_device"] * figures["seconds_per_step"] * 1e12

    assert found[True][1] == pytest.approx(found[True][0], rel=0.05)
    assert found[False][1] == pytest.approx(found[True][1], rel=1e-9)
    assert found[False][0] > 1.05 * found[True][0]
