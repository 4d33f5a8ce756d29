"""Nothing writes into what a transform gave: samples may share its arrays, which may be read-only."""

from __future__ import annotations

import numpy as np
import pytest

from spectranet.config import load_config
from spectranet.data.collate import collate
from spectranet.data.pipeline import Looked, Sample, Viewer

HOST = load_config(["tiny"], [], ["vision", "audio", "text"])


@pytest.mark.parametrize("name", sorted(HOST.host.modalities))
def test_masks_batches_and_previews_leave_read_only_arrays_alone(name):
    modality = HOST.host.modalities[name]
    config = HOST.config.modalities.get(name) or modality.config()
    viewer = Viewer.of(modality, config, train=True, ratio=0.4)
    content = modality.example(np.random.default_rng(0))
    looked: Looked = viewer.look(content, ("seed",))
    arrays = [*looked.values.data.values(), looked.values.position_NP, looked.values.segment_N]
    for array in arrays:
        array.setflags(write=False)

    view = viewer.hide(looked)
    assert modality.preview is not None
    list(modality.preview(config, looked.values, view.hidden_N))
    batch = collate([Sample("k", {name: view})], {name: modality}, source="s", ids=[0]).modalities[name]

    for tensor in (*batch.data.values(), batch.position_BNP, batch.segment_BN):
        assert not any(np.shares_memory(tensor.numpy(), array) for array in arrays)
