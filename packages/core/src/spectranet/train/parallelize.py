"""Parallelism as a recipe: checkpoint activations, compile, shard; in this order, from outside."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.utils.checkpoint import checkpoint

from spectranet.config.schema import Config, TrainConfig
from spectranet.model.build import Parts, build_model, initialise_model
from spectranet.model.decoder import DecoderBlock
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World

__all__ = ["build_sharded", "make_sharder", "shard_root"]


def build_sharded(config: Config, parts: Parts, world: World) -> SpectraNet:
    """The model with its first weights, sharded part by part over the ranks."""
    model = build_model(config, parts)
    sharder = make_sharder(config.train, world, parts.shard_units())
    initialise_model(model, config.train.seed, world.device, sharder)
    shard_root(model, config.train, world)
    return model


def make_sharder(config: TrainConfig, world: World, units: tuple[type, ...]) -> Callable[[nn.Module], None]:
    """A function that prepares one initialised part of the model: an encoder, a decoder block.

    Args:
        units: module classes that are wrapped one by one, from the plugins; decoder blocks are.
    """
    units = (*units, DecoderBlock)

    def prepare(part: nn.Module) -> None:
        for module in _innermost_first(part):
            if isinstance(module, units):
                if config.activation_checkpointing == "full":
                    _checkpoint_forward(module)
                if config.compile:
                    module.compile(dynamic=True, fullgraph=True)
                _shard(module, config, world)
            elif getattr(module, "full_precision", False):
                fully_shard(module, mesh=world.mesh, mp_policy=MixedPrecisionPolicy())

    return prepare


def shard_root(model: SpectraNet, config: TrainConfig, world: World) -> None:
    """Shard what no unit has claimed, and make partly used groups safe.

    A head that only one rank's batch happened to use must still take part in the reduction, with
    zeros: otherwise ranks reduce tensors of different sizes. Before torch 2.13 FSDP cannot do that
    itself, so there the model touches every parameter of its objectives.
    """
    # The root's arguments are ids and cached fp32 gradients: nothing there may be cast.
    _shard(model, config, world, cast_forward_inputs=False)
    for module in model.modules():
        if isinstance(module, FSDPModule) and hasattr(module, "set_reduce_scatter_unused_params"):
            module.set_reduce_scatter_unused_params(True, recurse=False)
    model.touch_objectives = not hasattr(FSDPModule, "set_reduce_scatter_unused_params")
    # With train.keep_encoded the root hands out encoders' tokens, slices where a trunk keeps a class token
    # before them, and takes them back in pass 2. Nothing changes them in place, which the warning is about;
    # clones would cost their memory.
    warnings.filterwarnings(
        "ignore", r"FSDP2-wrapped module \(FSDPSpectraNet\) returned a view tensor", UserWarning
    )


def _shard(module: nn.Module, config: TrainConfig, world: World, cast_forward_inputs: bool = True) -> None:
    if config.precision == "bf16":
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16,
            reduce_dtype=torch.float32,
            cast_forward_inputs=cast_forward_inputs,
        )
    else:
        policy = MixedPrecisionPolicy()
    fully_shard(module, mesh=world.mesh, mp_policy=policy)


def _checkpoint_forward(module: nn.Module) -> None:
    """Recompute the module's activations in the backward, without renaming its parameters."""
    forward = module.forward

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    module.forward = recomputed  # type: ignore[method-assign]


def _innermost_first(part: nn.Module) -> list[nn.Module]:
    return list(part.modules())[::-1]
