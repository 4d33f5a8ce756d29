"""A step never waits for its device, but once: for the norm of its gradient.

The device here is ``meta``, which has shapes and no numbers. A dispatch mode stands at its door: it notes
whoever asks for a number, or for a shape that depends on numbers, and answers with ones, so that all are
found in one go. A GPU would be waited for at each of these places, and at each copy to it that blocks.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from spectranet.model.build import build_model
from spectranet.model.move import to_device
from spectranet.train.distributed import World, start_world
from spectranet.train.objective_pass import ObjectivePass, StepLosses
from spectranet.train.optimizer import fill_gradients
from spectranet.train.watch.gradient_norms import GradientNorms

sys.path.insert(0, str(Path(__file__).parent))
from cut_and_compare import configured, draw_samples, micro_batches

aten = torch.ops.aten
META = torch.device("meta")

ASKS_FOR_A_NUMBER = {aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.item}
SHAPES_BY_NUMBERS = {
    *(aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.unique_consecutive),
    *(aten.bincount, aten.isin, aten.repeat_interleave),
}
"""``isin`` has a shape, but sorts with one that has not."""
INDEXES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
COPIES = {aten._to_copy, aten.copy_}


class Door(TorchDispatchMode):
    """Notes what would wait: (operation, the innermost line of ours)."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[tuple[str, str]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        reason = waits(func.overloadpacket, args, kwargs)
        if reason is None:
            return func(*args, **kwargs)
        self.waits.append((reason, place()))
        to_cpu = tree_map(lambda a: torch.ones_like(a, device="cpu") if is_meta(a) else a, (args, kwargs))
        cpu_args, cpu_kwargs = to_cpu
        if reason == "copy to the device that blocks":
            return func(*args, **kwargs)
        if reason == "copy from the device":
            return args[0] if func.overloadpacket is aten.copy_ else cpu_args[0]
        result = func(*cpu_args, **cpu_kwargs)
        return tree_map(lambda r: r.to("meta") if isinstance(r, torch.Tensor) else r, result)


class Makers(TorchFunctionMode):
    """Notes tensors that are made on the device from numbers: a dispatch mode does not see the copy."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self.door = door

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = func in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)
        if made and result.is_meta and not isinstance(args[-1], torch.Tensor):
            self.door.waits.append(("makes a tensor of numbers", place()))
        return result


def is_meta(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_meta


def waits(packet: Any, args: Any, kwargs: Any) -> str | None:
    """Why a GPU would be waited for, if it would."""
    flat = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, torch.Tensor)]
    if packet in COPIES:
        return blocking_copy(packet, args, kwargs)
    if not any(a.is_meta for a in flat):
        return None
    if packet in ASKS_FOR_A_NUMBER:
        return "asks for a number"
    if packet in SHAPES_BY_NUMBERS:
        return "has a shape that depends on numbers"
    if packet in INDEXES:
        indices = [i for i in args[1] if i is not None]
        if any(i.dtype in (torch.bool, torch.uint8) and i.is_meta for i in indices):
            return "indexes by a mask"
        if any(not i.is_meta for i in indices):
            return "indexes by what is on the host"
    return None


def blocking_copy(packet: Any, args: Any, kwargs: Any) -> str | None:
    if packet is aten.copy_:
        target, source = args[0].is_meta, args[1]
        asynchronous = (len(args) > 2 and args[2]) or kwargs.get("non_blocking", False)
    else:
        device = kwargs.get("device")
        target, source = args[0].is_meta if device is None else torch.device(device) == META, args[0]
        asynchronous = kwargs.get("non_blocking", False)
    if source.is_meta and not target:
        return "copy from the device"
    if target and not source.is_meta and not asynchronous:
        return "copy to the device that blocks"
    return None


def place() -> str:
    ours = [f for f in traceback.extract_stack() if "spectranet" in f.filename and "/src/" in f.filename]
    if not ours:
        return "here"
    return f"{Path(ours[-1].filename).name}, {ours[-1].name}: {ours[-1].line}"


@contextmanager
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # meta has none
    with Door() as mode, Makers(mode):
        yield mode


@pytest.fixture(scope="module")
def setting() -> tuple[Any, ...]:
    """The four objectives over four modalities: two micro-batches of each of three sources, some padded."""
    config, parts = configured()
    batches = micro_batches(draw_samples(config, parts), parts, 2)
    world = start_world("cpu", 1)
    model = build_model(config, parts)
    coefficients = dict.fromkeys(parts.objectives, 1.0)
    return model, World(world.rank, world.size, META, world.mesh), coefficients, batches


@pytest.mark.parametrize("keep_encoded", [False, True])
def test_a_step_waits_once(setting, monkeypatch, keep_encoded) -> None:
    model, world, coefficients, batches = setting
    passes = ObjectivePass(model, world, coefficients, keep_encoded)
    norms = GradientNorms(model, world)
    with door(monkeypatch) as mode:
        losses = passes(batches)
        fill_gradients(norms.parameters)
        assert mode.waits == []
        norms.clip(1.0)
        assert [reason for reason, _ in mode.waits] == ["copy from the device"]
    assert len(losses.sums) > 10 and len(losses.metrics) > 10
    assert all(each.is_meta for each in losses.sums.values())
    assert all(parameter.grad is not None for parameter in norms.parameters)


def test_what_is_logged_waits_once(setting, monkeypatch) -> None:
    _, world, _, _ = setting
    number = torch.ones((), device=META)
    losses = StepLosses({"a": number, "b": number}, {"a": 2.0, "b": 4.0}, {"scale": number, "count": 3.0})
    with door(monkeypatch) as mode:
        losses.reduce(world, {"a": 1.0, "b": 1.0})
    assert [reason for reason, _ in mode.waits] == ["copy from the device"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x[torch.tensor([0])],
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.unique(),
        lambda x: x + torch.tensor([1.0, 2.0]).to(META),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x[1:].equal(x[:-1]),
    ],
)
def test_what_would_wait_is_noticed(monkeypatch, ask) -> None:
    with door(monkeypatch) as mode:
        ask(torch.ones(2, device=META))
    assert len(mode.waits) == 1


def test_a_batch_on_a_device_knows_itself_on_the_host(setting) -> None:
    batch = setting[3][0]
    moved = to_device(batch, META)
    assert moved.host is batch and batch.host is batch and to_device(batch, torch.device("cpu")) is batch
    for name, one in moved.modalities.items():
        assert one.valid_BN.is_meta and one.host is batch.modalities[name]
        assert all(tensor.is_meta for tensor in one.data.values())


def test_what_goes_to_a_gpu_is_pinned_first_and_does_not_block(setting, monkeypatch) -> None:
    calls: list[tuple[str, Any]] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        calls.append(("pin", tensor.data_ptr()))
        return tensor

    def to(tensor: torch.Tensor, device: torch.device, non_blocking: bool = False) -> torch.Tensor:
        calls.append((f"to {device.type}, non-blocking {non_blocking}", tensor.data_ptr()))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    batch = setting[3][0]
    to_device(batch, META)
    assert {what for what, _ in calls} == {"to meta, non-blocking True"}
    calls.clear()
    to_device(batch, torch.device("cuda", 0))
    pinned, moved = calls[::2], calls[1::2]
    assert {what for what, _ in pinned} == {"pin"}
    assert {what for what, _ in moved} == {"to cuda, non-blocking True"}
    assert [where for _, where in pinned] == [where for _, where in moved]
    assert len(moved) == 1 + sum(8 + len(one.data) for one in batch.modalities.values())
