"""What a block promises: what comes out is what went in, tensor for tensor, and all in one piece."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from spectranet.contracts import ModalityBatch
from spectranet.data.block import pack, unpack
from spectranet.data.collate import LoadedBatch

TENSORS = {
    "bytes": torch.arange(7, dtype=torch.uint8),
    "flags": torch.tensor([[True, False], [False, True]]),
    "numbers": torch.arange(6, dtype=torch.int64).reshape(2, 3) - 3,
    "doubles": torch.linspace(0, 1, 5, dtype=torch.float64),
    "halves": torch.linspace(-2, 2, 4).to(torch.bfloat16),
    "scalar": torch.tensor(2.5),
    "nothing": torch.zeros(0, 4),
    "turned": torch.arange(24, dtype=torch.uint8).reshape(2, 4, 3).permute(0, 2, 1),
    "part": torch.arange(20).reshape(4, 5)[1:3, ::2],
    "repeated": torch.tensor([1, 2, 3]).expand(2, 3),
}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and left[name].shape == right[name].shape
        and torch.equal(left[name], right[name])
        for name in left
    )


def test_what_was_packed_comes_out_and_all_tensors_are_views_of_the_block():
    block, rest = pack({"tensors": TENSORS, "name": "α", "nested": [1, None]})
    out = unpack(block, rest)
    assert (out["name"], out["nested"]) == ("α", [1, None]) and same(out["tensors"], TENSORS)
    owned = block.untyped_storage().data_ptr()
    assert all(tensor.untyped_storage().data_ptr() == owned for tensor in out["tensors"].values())


def test_tensors_of_a_block_do_not_overlap():
    out = unpack(*pack(TENSORS))
    for name in out:
        changed = {other: tensor.clone() for other, tensor in out.items() if other != name}
        out[name].zero_()
        assert same({other: out[other] for other in changed}, changed), name


def test_the_order_of_pixels_in_memory_stays():
    turned = unpack(*pack(TENSORS))["turned"]
    assert turned.stride() == TENSORS["turned"].stride()


def test_nothing_at_all_packs():
    assert unpack(*pack({"words": "only"})) == {"words": "only"}


def batch() -> LoadedBatch:
    row = torch.zeros(2, 3, dtype=torch.int64)
    mask = torch.ones(2, 3, dtype=torch.bool)
    part = ModalityBatch(dict(TENSORS), row[..., None], row, mask, row, mask, row, mask, row[:, 0])
    return LoadedBatch(("a", "b"), "source", torch.tensor([4, 5]), {"numbers": part})


def check(copy: LoadedBatch) -> None:
    original = batch()
    assert (copy.keys, copy.source, copy.skipped) == (original.keys, original.source, original.skipped)
    assert torch.equal(copy.ids_B, original.ids_B)
    assert same(copy.modalities["numbers"].data, original.modalities["numbers"].data)


def test_a_batch_pickles_as_one_block():
    copy = pickle.loads(pickle.dumps(batch()))
    check(copy)
    pointers = {tensor.untyped_storage().data_ptr() for tensor in copy.modalities["numbers"].data.values()}
    assert pointers == {copy.ids_B.untyped_storage().data_ptr()}


class OneBatch(Dataset[Any]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> LoadedBatch:
        return batch()


def workers_hand_over() -> None:
    for workers in (0, 1):
        for copy in DataLoader(OneBatch(), batch_size=None, num_workers=workers):
            check(copy)
            assert copy.ids_B.is_shared() == (workers > 0)


def test_a_worker_hands_a_batch_over_in_shared_memory():
    """In a process of its own: a fork of one that has had threads, as the tests', may wait for ever."""
    subprocess.run([sys.executable, __file__], check=True, timeout=120)


if __name__ == "__main__":
    workers_hand_over()
