"""Which module, loss or gradient of a step is the first that is not finite?

Hooks look at what goes into and comes out of every module, and at the gradients on their way back. All of it
costs a synchronisation a module: this is for one step that is run again, never for training.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from spectranet.contracts import Batch
from spectranet.model.spectranet import SpectraNet
from spectranet.train.faults.finite import all_finite

__all__ = ["Fault", "FirstFault", "faulty_operation"]


@dataclass(frozen=True)
class Fault:
    """Something that is not finite.

    Attributes:
        where: dotted name of a module or parameter, or of a term of the loss.
        what: a sentence that follows the name.
        batch: the micro-batch that ran, if one did.
        samples: keys of its samples that are concerned, where that can be told.
    """

    where: str
    what: str
    batch: Batch | None = None
    samples: tuple[str, ...] = ()


@dataclass(eq=False)
class _Call:
    """One run of a module, and whether the gradients that reached its outputs were finite."""

    name: str
    module: nn.Module
    batch: Batch | None
    gradient_is_good: bool = True


class FirstFault:
    """Watches a model; :attr:`forward` and :meth:`backward` tell what was found.

    Attributes:
        forward: faults of the forward passes, in their order; the first is the innermost module.
    """

    def __init__(self, model: SpectraNet) -> None:
        self.forward: list[Fault] = []
        self._model = model
        self._batch: Batch | None = None
        self._calls: list[_Call] = []
        self._running: list[_Call] = []
        self._handed_on: list[_Call] = []
        """Calls that gave bad gradients to their inputs, in the order of the backward."""
        self._reached: list[_Call] = []
        """Calls whose outputs got a bad gradient."""
        self._handles = [model.register_forward_pre_hook(self._begin, prepend=True)]
        for name, module in model.named_modules():
            if module is not model:
                self._handles.append(module.register_forward_pre_hook(self._enter(name), with_kwargs=True))
                self._handles.append(module.register_forward_hook(self._look, with_kwargs=True))
        self._handles.append(model.register_forward_hook(self._end))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def backward(self) -> list[Fault]:
        """What made the gradient not finite, after a backward; the likeliest first."""
        bad = {n for n, p in self._model.named_parameters() if p.grad is not None and not all_finite(p.grad)}
        faults = [
            Fault(call.name, f"({_kind(call.module)}) gets finite gradients and passes on others", call.batch)
            for call in self._handed_on
            if call.gradient_is_good
        ]
        spoilt = {call.name for call in self._calls if not call.gradient_is_good}
        for call in {call.name: call for call in self._calls if call.name not in spoilt}.values():
            own = [f"{call.name}.{name}" for name, _ in call.module.named_parameters(recurse=False)]
            faults += [
                Fault(name, f"has a gradient that is not finite, of ({_kind(call.module)})")
                for name in own
                if name in bad
            ]
        if not faults and self._reached:
            first = self._reached[0]
            faults.append(
                Fault(
                    first.name,
                    "is the first to get a gradient that is not finite: what uses its output made it",
                    first.batch,
                )
            )
        return faults or [Fault(name, "has a gradient that is not finite") for name in sorted(bad)]

    def _begin(self, model: nn.Module, arguments: tuple[Any, ...]) -> None:
        self._batch = next((each for each in arguments if isinstance(each, Batch)), None)
        if self._batch is None or self.forward:
            return
        for name, one in self._batch.modalities.items():
            for key, tensor in one.data.items():
                if not all_finite(tensor):
                    self._add(f"data of modality '{name}'", f"('{key}') is not finite as it was read", tensor)

    def _end(self, model: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        """The terms of the loss, which objectives compute outside of modules."""
        if arguments[0] == "train":
            terms: Mapping[str, Tensor] = output[1]
        elif arguments[0] == "global":
            terms = {term: loss.sum for term, loss in output[1].items()}
        else:
            terms = {}
        for term, value in terms.items():
            if not all_finite(value):
                self._add(term, f"of the loss is {value.item()}", None)

    def _enter(self, name: str) -> Callable[..., Any]:
        def enter(module: nn.Module, arguments: Any, keywords: Any) -> Any:
            call = _Call(name, module, self._batch)
            self._running.append(call)
            if not torch.is_grad_enabled():
                return None
            self._calls.append(call)

            def leaves(gradient: Tensor) -> None:
                if call not in self._handed_on and not all_finite(gradient):
                    self._handed_on.append(call)

            # A tensor that several modules take collects all their gradients; an alias has one's alone.
            return _aliased(arguments, leaves), _aliased(keywords, leaves)

        return enter

    def _look(self, module: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
        call = self._running.pop()
        made = list(_tensors(output))
        bad = next((tensor for tensor in made if not all_finite(tensor)), None)
        if bad is not None:
            given_bad = any(not all_finite(tensor) for tensor in _tensors((arguments, keywords)))
            origin = "and so is what it was given" if given_bad else "from finite inputs"
            self._add(call.name, f"({_kind(module)}) gives {_count(bad)}, {origin}", bad)

        def arrives(gradient: Tensor) -> None:
            if not all_finite(gradient):
                call.gradient_is_good = False
                self._reached.append(call)

        for tensor in made:
            if tensor.requires_grad:
                tensor.register_hook(arrives)

    def _add(self, where: str, what: str, rows: Tensor | None) -> None:
        batch, samples = self._batch, ()
        if batch is not None and rows is not None and rows.ndim > 0 and len(rows) == len(batch):
            bad_B = ~torch.isfinite(rows).flatten(1).all(1) if rows.ndim > 1 else ~torch.isfinite(rows)
            samples = tuple(key for key, bad in zip(batch.keys, bad_B.tolist(), strict=True) if bad)
        self.forward.append(Fault(where, what, batch, samples))


def faulty_operation(step: Callable[[], object]) -> str | None:
    """The operation whose backward gives NaN first, and the lines of the forward that called it.

    By autograd's anomaly detection; None where it finds none (it looks for NaN, not for infinity).
    """
    with warnings.catch_warnings(record=True) as told, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        try:
            step()
        except RuntimeError as error:
            if "returned nan values" not in str(error):
                raise
            lines = [line for each in told for line in _own_lines(str(each.message))]
            return "\n".join([str(error).splitlines()[0], *lines[-2:]])
    return None


def _own_lines(trace: str) -> list[str]:
    """``file:line in function: code`` of the frames that are not torch's."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)\n\s+(.+)', trace)
    return [f"{f}:{n} in {name}: {code}" for f, n, name, code in frames if "/torch/" not in f]


def _tensors(value: Any) -> Iterator[Tensor]:
    """The floating tensors in nested containers and dataclasses."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for item in fields(value):
            yield from _tensors(getattr(value, item.name))


def _aliased(value: Any, hook: Callable[[Tensor], None]) -> Any:
    """The same, with an alias for each tensor that wants a gradient, whose gradient goes to ``hook`` too."""
    if isinstance(value, Tensor):
        if not value.requires_grad:
            return value
        alias = value.view_as(value)
        alias.register_hook(hook)
        return alias
    if type(value) is dict:
        return {key: _aliased(each, hook) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_aliased(each, hook) for each in value)
    if is_dataclass(value) and not isinstance(value, type) and any(t.requires_grad for t in _tensors(value)):
        return replace(value, **{f.name: _aliased(getattr(value, f.name), hook) for f in fields(value)})
    return value


def _count(tensor: Tensor) -> str:
    nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    kinds = [f"{count:,} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count]
    return f"{' and '.join(kinds)} of {tensor.numel():,} values"


def _kind(module: nn.Module) -> str:
    return type(module).__name__.removeprefix("FSDP")
