"""Checkpoints: one immutable directory a step, verified before it is believed.

``step-N/`` holds safetensors files of each rank (``shards.py``), ``manifest.json`` (SHA-256 and size of every
file, shape and dtype of every tensor, the optimizer's step counts, configuration, plugins, topology) and
``manifest.sha256``. It is written as ``step-N.tmp``, synced, and renamed (``save.py``), so a directory with
the final name is complete. Nothing is pickled and nothing is unpickled: the ``.metadata`` of
torch.distributed.checkpoint runs code on load, and a byte that flipped loads silently there.
"""

from spectranet.train.checkpoint.directory import (
    MANIFEST,
    Checkpoint,
    CheckpointError,
    list_checkpoints,
)
from spectranet.train.checkpoint.load import load_checkpoint
from spectranet.train.checkpoint.save import CheckpointNotWritten, Saver
from spectranet.train.checkpoint.verify import find_good_checkpoint, verify_checkpoint

__all__ = [
    "MANIFEST",
    "Checkpoint",
    "CheckpointError",
    "CheckpointNotWritten",
    "Saver",
    "find_good_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "verify_checkpoint",
]
