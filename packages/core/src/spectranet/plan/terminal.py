"""How does a plan read in a terminal of 80 columns?"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from spectranet.plan.advice import advice
from spectranet.plan.estimate import MARGIN, Estimate
from spectranet.plan.plan import Plan

__all__ = ["as_text"]

_WIDTH = 80
_ROW = "{} {:>5}  {:<9} {:<7}  {:>5}  {:>6}  {:>7} {:>7}  {:>6}  {:>6}  {:>4}"
_MOST_ROWS = 12


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
            yield f"  {name + ' a device':<28}{_bytes(size):>10}"
    yield f"  state a device            {_bytes(plan.state_bytes):>12}   fp32 parameters, gradients, AdamW"


def _repeated(plan: Plan, shown: Estimate) -> str:
    again = 1 - plan.model_flops / (shown.flops * plan.gpus)
    return f"{again:.0%} of it computed again" if again > 0.005 else ""


def _settings(plan: Plan) -> Iterator[str]:
    """The best, and settings that are slower and need less: each row needs less than those above it."""
    fitting = [one for one in plan.estimates if plan.fits(one)]
    yield f"settings: {len(fitting)} of {len(plan.estimates)} fit; * the best, = as configured"
    yield _ROW.format(
        " ",
        "micro",
        "activ.",
        "weights",
        "shard",
        "peak",
        f"+{MARGIN:.0%}",
        "compute",
        "links",
        "step",
        "MFU",
    )
    yield _ROW.format(" ", "batch", "checkp.", "", "ranks", "GiB", "GiB", "s", "s", "s", "").rstrip()
    for one in _rows(plan):
        yield _ROW.format(
            "*" if one is plan.best else "=" if one.setting == plan.configured else " ",
            one.setting.micro_batch,
            one.setting.activation_checkpointing,
            one.setting.gather,
            one.setting.shard_ranks or plan.gpus,
            f"{one.peak_bytes / 2**30:.1f}",
            f"{one.needs() / 2**30:.1f}" + (" " if plan.fits(one) else "!"),
            _seconds(one.compute_s),
            _seconds(one.link_s),
            _seconds(one.step_s),
            f"{plan.mfu(one):.0%}",
        )
    if any(not plan.fits(one) for one in _rows(plan)):
        yield f"  ! does not fit: {plan.gpu.name} has {plan.gpu.memory_bytes / 2**30:.0f} GiB"


def _rows(plan: Plan) -> list[Estimate]:
    """The fastest first; where nothing fits, those that need least."""
    fitting = [one for one in plan.estimates if plan.fits(one)]
    rows: list[Estimate] = [] if plan.best is None else [plan.best]
    for one in sorted(fitting or plan.estimates, key=lambda one: (one.step_s, one.peak_bytes)):
        if not rows or (one.step_s > rows[0].step_s and one.peak_bytes < 0.9 * rows[-1].peak_bytes):
            rows.append(one)
    rows = rows[: _MOST_ROWS - 1] if fitting else rows[-_MOST_ROWS + 1 :]
    rows += [one for one in plan.estimates if one.setting == plan.configured and one not in rows]
    return sorted(rows, key=lambda one: (one.step_s, one.peak_bytes))


def _verdict(plan: Plan) -> Iterator[str]:
    if plan.best is None:
        yield f"nothing fits {plan.gpu.name} ({plan.gpu.memory_bytes / 2**30:.0f} GiB). What would:"
        for sentence in advice(plan):
            yield from textwrap.wrap(sentence, _WIDTH, initial_indent="  - ", subsequent_indent="    ")
        return
    best = plan.best
    lines = textwrap.wrap(f"best: {best.setting.overrides()}", _WIDTH - 2, subsequent_indent="      ")
    yield from (line if line is lines[-1] else f"{line} \\" for line in lines)  # to copy into a shell
    run = f"{_duration(plan.run_s)}, {_hours(plan.gpu_hours)}"
    yield f"  {plan.config.train.steps:,} steps of {_seconds(best.step_s)} s: {run}"
    limit = "the links" if best.link_s > best.compute_s else "arithmetic"
    if best.step_s > 1.5 * max(best.link_s, best.compute_s):
        limit = "starting small operations"
    yield f"  limited by {limit}"
    how = "rehearsed as it is" if best.rehearsed else "worked out"
    yield f"  its peak, {how}: in a micro-batch of source '{best.source}'"


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


def _seconds(seconds: float) -> str:
    if seconds >= 999.5:
        return f"{seconds:.0f}"
    return f"{seconds:.3g}" if seconds >= 0.01 else f"{seconds:.4f}"


def _count(number: float) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.2f} M"


def _flops(number: float) -> str:
    units = ("MFLOP", "GFLOP", "TFLOP", "PFLOP", "EFLOP", "ZFLOP")
    power = next((n for n in range(len(units)) if number < 999.5 * 1000 ** (n + 2)), len(units) - 1)
    return f"{number / 1000 ** (power + 2):.3g} {units[power]}"


def _bytes(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 / 10 else f"{size / 2**20:,.1f} MiB"


def _hours(hours: float) -> str:
    return f"{hours:,.0f} GPU-hours" if hours >= 10 else f"{hours:.2g} GPU-hours"


def _duration(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} s"
