"""Parallelism as a recipe: checkpoint activations, compile, shard; in this order, from outside."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from spectranet.config.schema import Config, TrainConfig
from spectranet.model.build import Parts, build_model, initialise_model
from spectranet.model.decoder import DecoderBlock
from spectranet.model.spectranet import SpectraNet
from spectranet.train.distributed import World
from spectranet.train.parallel.accumulation import FILLS_WITH_ZEROS
from spectranet.train.parallel.recompute import recompute_activations
from spectranet.train.parallel.step_dtype import cast_block, cast_calls

__all__ = ["build_sharded", "make_sharder", "needs_sharding", "shard_root"]


def needs_sharding(config: TrainConfig, world: World) -> bool:
    """Whether FSDP has anything to do; a rank alone holds plain tensors.

    It would else only copy: every parameter into place for forward and backward, every gradient out,
    a third of the time of a small step. Checkpoints name and shape both kinds alike, so a run may go on
    with more ranks and come back. Blocks that are compiled have their dtype from FSDP.
    """
    return world.size > 1 or (config.compile and config.precision != "fp32")


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
    casts = config.precision == "bf16" and not needs_sharding(config, world)

    def prepare(part: nn.Module) -> None:
        for module in _innermost_first(part):
            if isinstance(module, units):
                if casts:
                    cast_block(module, torch.bfloat16)
                recompute_activations(module, config.activation_checkpointing)
                if config.compile:
                    _compile(module)
                _shard(module, config, world)
            elif getattr(module, "full_precision", False) and needs_sharding(config, world):
                fully_shard(module, mesh=world.mesh, mp_policy=MixedPrecisionPolicy())
        if casts and not isinstance(part, units):
            cast_calls(part, torch.bfloat16)

    return prepare


def shard_root(model: SpectraNet, config: TrainConfig, world: World) -> None:
    """Shard what no unit has claimed, and make partly used groups safe.

    A head that only one rank's batch happened to use must still take part in the reduction, with
    zeros: otherwise ranks reduce tensors of different sizes. Which units those are in a micro-batch is
    said in :mod:`spectranet.train.parallel.accumulation`. Before torch 2.13 FSDP cannot do that itself, so
    there the model touches every parameter of its objectives.
    """
    if not needs_sharding(config, world):
        if config.precision == "bf16":
            cast_calls(model.decoder, torch.bfloat16)
        return
    # The root's arguments are ids and cached fp32 gradients: nothing there may be cast.
    _shard(model, config, world, cast_forward_inputs=False)
    model.touch_objectives = not FILLS_WITH_ZEROS
    # With train.keep_encoded the root hands out encoders' tokens, slices where a trunk keeps a class token
    # before them, and takes them back in pass 2. Nothing changes them in place, which the warning is about;
    # clones would cost their memory.
    warnings.filterwarnings(
        "ignore", r"FSDP2-wrapped module \(FSDPSpectraNet\) returned a view tensor", UserWarning
    )


def _compile(module: nn.Module) -> None:
    """One program for all blocks of a kind and all sizes of batches, in a few versions.

    torch makes a version with and without gradient, for one sample and for more, and for inputs that are
    views; more than its limit of eight raise an error. It would make more wherever two sizes happen to be
    equal, such as samples and tokens ("duck shaping").
    """
    from torch import _dynamo
    from torch.fx.experimental import _config as symbolic_shapes

    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, 32)
    symbolic_shapes.use_duck_shape = False  # type: ignore[attr-defined]
    module.compile(dynamic=True, fullgraph=True)


def _shard(module: nn.Module, config: TrainConfig, world: World, cast_forward_inputs: bool = True) -> None:
    if not needs_sharding(config, world):
        return
    if config.precision == "bf16":
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16,
            reduce_dtype=torch.float32,
            cast_forward_inputs=cast_forward_inputs,
        )
    else:
        policy = MixedPrecisionPolicy()
    fully_shard(module, mesh=world.mesh, mp_policy=policy)


def _innermost_first(part: nn.Module) -> list[nn.Module]:
    return list(part.modules())[::-1]
