"""What each rank of ``test_sharding`` runs: exit code 0 says that sharded and whole encoder agree."""

from __future__ import annotations

import copy
import os

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from spectranet import ModalityBatch
from spectranet_audio.config import AudioConfig
from spectranet_audio.encoder import AudioEncoder, build_encoder, shard_units

# A width that two ranks do not divide evenly into, and a position kernel of shape (1, 1, 8).
CONFIG = AudioConfig(
    width=18,
    layers=2,
    heads=3,
    mlp_hidden=30,
    conv_dim=[7],
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=3,
)


def example_batch(frames: int = 12, batch: int = 2) -> ModalityBatch:
    frame_BN = torch.arange(frames).expand(batch, frames)
    hidden_BH, visible_BV = frame_BN[:, 3:6], torch.cat([frame_BN[:, :3], frame_BN[:, 6:]], 1)
    return ModalityBatch(
        data={"waveform": torch.randn(batch, 320 * frames + 80)},
        position_BNP=frame_BN[..., None],
        segment_BN=frame_BN // 10,
        valid_BN=torch.ones_like(frame_BN, dtype=torch.bool),
        visible_BV=visible_BV,
        visible_valid_BV=torch.ones_like(visible_BV, dtype=torch.bool),
        hidden_BH=hidden_BH,
        hidden_valid_BH=torch.ones_like(hidden_BH, dtype=torch.bool),
        content_B=torch.arange(batch),
    )


def run(rank: int, ranks: int, store: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    whole: AudioEncoder = build_encoder(CONFIG)
    with torch.no_grad():
        whole.init_weights()
    sharded = copy.deepcopy(whole)
    for module in sharded.modules():
        if isinstance(module, shard_units()):
            fully_shard(module)
    fully_shard(sharded)
    batch = example_batch()
    tokens, tokens_sharded = whole(batch).tokens_BND, sharded(batch).tokens_BND
    torch.testing.assert_close(tokens_sharded, tokens)
    direction = torch.randn_like(tokens)
    (tokens * direction).sum().backward()
    (tokens_sharded * direction).sum().backward()
    for (name, one), (_, other) in zip(whole.named_parameters(), sharded.named_parameters(), strict=True):
        torch.testing.assert_close(
            other.grad.full_tensor(), one.grad, msg=lambda text, name=name: f"{name}: {text}"
        )
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo can abort while Python is finalising
