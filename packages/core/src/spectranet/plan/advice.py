"""What would make a run fit that does not?"""

from __future__ import annotations

from spectranet.config.sizes import fits
from spectranet.plan.estimate import MARGIN
from spectranet.plan.gpus import GPUS, find_gpu
from spectranet.plan.plan import Plan

__all__ = ["advice"]

_MOST_GPUS = 4096


def advice(plan: Plan) -> list[str]:
    """Sentences; at least one."""
    least = min(plan.estimates, key=lambda one: one.peak_bytes)
    told = []
    if more := _more_gpus(plan, least.peak_bytes):
        told.append(f"more of them: {more} x {plan.gpu.name}, each holding less of parameters and optimizer")
    larger = [find_gpu(name) for name in GPUS if name != "cpu"]
    larger = [gpu for gpu in larger if least.needs() <= gpu.memory_bytes]
    if larger and plan.gpu.name != "cpu":
        told.append(f"a larger device: --gpu {larger[0].name}")
    sample = least.peak_bytes - plan.state_bytes
    told.append(
        f"smaller samples or a smaller model: besides {plan.state_bytes / 2**30:.1f} GiB of state, a "
        f"micro-batch of {least.setting.micro_batch} takes {sample / 2**30:.1f} GiB"
    )
    return told


def _more_gpus(plan: Plan, peak_bytes: int) -> int | None:
    """The fewest that divide a slot and among which the state gets small enough."""
    slot, working = plan.config.train.global_batch // plan.config.train.slots, peak_bytes - plan.state_bytes
    for gpus in range(plan.gpus + 1, min(slot, _MOST_GPUS) + 1):
        needs = (working + plan.state_bytes * plan.gpus / gpus) * (1 + MARGIN)
        if slot % gpus == 0 and fits(1, slot // gpus) and needs <= plan.gpu.memory_bytes:
            return gpus
    return None
