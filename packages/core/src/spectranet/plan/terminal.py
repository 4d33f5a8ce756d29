"""How does a plan read in a terminal of 80 columns?"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from spectranet.plan.advice import advice
from spectranet.plan.estimate import MARGIN, Estimate
from spectranet.plan.plan import Plan

__all__ = ["as_text"]

_WIDTH = 80
_ROW = "{} {:>5}  {:<13}  {:>7} {:>8}  {:>8}  {:>8}  {:>7}  {:>4}"


def as_text(plan: Plan) -> str:
    sections = (_headline, _parameters, _step, _settings, _verdict, _assumptions)
    return "\n".join("".join(f"{line}\n" for line in section(plan)) for section in sections)


def _headline(plan: Plan) -> Iterator[str]:
    train = plan.config.train
    total = sum(plan.parameters.values())
    yield f"{_count(total)} parameters on {plan.gpus} x {plan.gpu.name}, {train.precision}"
    yield f"global batch {train.global_batch} in {train.slots} slots, {train.steps:,} steps"


def _parameters(plan: Plan) -> Iterator[str]:
    total = sum(plan.parameters.values())
    yield "parameters"
    for name, count in plan.parameters.items():
        if count:
            yield f"  {name:<24} {_count(count):>9} {count / total:>7.1%}"


def _step(plan: Plan) -> Iterator[str]:
    shown = plan.best or min(plan.estimates, key=lambda one: one.peak_bytes)
    yield "a step, if every sample is as large as its options allow"
    yield f"  model FLOPs, all devices  {_flops(plan.model_flops):>12}   forward and backward once"
    yield f"  FLOPs a device            {_flops(shown.flops):>12}   {_repeated(plan, shown)}"
    for name, size in sorted(shown.traffic.items()):
        if size >= 2**20:
            yield f"  {name + ' a device':<25} {_bytes(size):>12}"
    yield f"  state a device            {_bytes(plan.state_bytes):>12}   fp32 parameters, gradients, AdamW"


def _repeated(plan: Plan, shown: Estimate) -> str:
    again = 1 - plan.model_flops / (shown.flops * plan.gpus)
    return f"{again:.0%} of it computed again" if again > 0.005 else ""


def _settings(plan: Plan) -> Iterator[str]:
    yield "settings (* the fastest that fits)"
    yield _ROW.format(" ", "micro", "activation", "peak", f"+{MARGIN:.0%}", "compute", "links", "step", "MFU")
    yield _ROW.format(" ", "batch", "checkpointing", "GiB", "GiB", "s", "s", "s", "").rstrip()
    for one in plan.estimates:
        yield _ROW.format(
            "*" if one is plan.best else " ",
            one.setting.micro_batch,
            one.setting.activation_checkpointing,
            f"{one.peak_bytes / 2**30:.1f}",
            f"{one.needs() / 2**30:.1f}" + (" " if plan.fits(one) else "!"),
            f"{one.compute_s:.3g}",
            f"{one.link_s:.3g}",
            f"{one.step_s:.3g}",
            f"{plan.mfu(one):.0%}",
        )
    if any(not plan.fits(one) for one in plan.estimates):
        yield f"  ! does not fit: {plan.gpu.name} has {plan.gpu.memory_bytes / 2**30:.0f} GiB"


def _verdict(plan: Plan) -> Iterator[str]:
    if plan.best is None:
        yield f"nothing fits {plan.gpu.name} ({plan.gpu.memory_bytes / 2**30:.0f} GiB). What would:"
        for sentence in advice(plan):
            yield from textwrap.wrap(sentence, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
        return
    best = plan.best
    yield f"best: {best.setting.overrides()}"
    run = f"{_duration(plan.run_s)}, {_hours(plan.gpu_hours)}"
    yield f"  {plan.config.train.steps:,} steps of {best.step_s:.3g} s: {run}"
    limit = "the links" if best.link_s > best.compute_s else "arithmetic"
    yield f"  what limits it: {limit}; its largest micro-batch: source '{best.source}'"


def _assumptions(plan: Plan) -> Iterator[str]:
    gpu, assumed, train = plan.gpu, plan.assumed, plan.config.train
    text = (
        f"Assumed: {assumed.efficiency:.0%} of {gpu.flops(train.precision) / 1e12:.3g} TFLOP/s "
        f"({train.precision}, dense) while nothing waits; {assumed.link_efficiency:.0%} of "
        f"{gpu.link(plan.gpus) / 1e9:.3g} GB/s a device and direction, at work while the device computes; "
        f"{assumed.operation_s * 1e6:.0f} µs to start an operation. Not counted: waiting for data, "
        "checkpoints, evaluation, restarts. Memory is rehearsed by the code that trains, on tensors "
        f"without contents, and wants {MARGIN:.0%} more. docs/plan.md says how far plans were off. "
        "For scale: 64 GPUs for four weeks are 43,008 GPU-hours."
    )
    yield from textwrap.wrap(text, _WIDTH)


def _count(number: float) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.2f} M"


def _flops(number: float) -> str:
    for unit in ("MFLOP", "GFLOP", "TFLOP", "PFLOP"):
        number /= 1000 if unit != "MFLOP" else 1e6
        if number < 1000 or unit == "PFLOP":
            return f"{number:,.3g} {unit}"
    raise AssertionError


def _bytes(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:,.1f} MiB"


def _hours(hours: float) -> str:
    return f"{hours:,.0f} GPU-hours" if hours >= 10 else f"{hours:.2g} GPU-hours"


def _duration(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"
