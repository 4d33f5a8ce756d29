"""A fault in a plugin's program ends the run and names the sample that it met; it is no bad sample."""

from __future__ import annotations

import json
import re
import traceback
from dataclasses import replace

import pytest
from numbers_modality import numbers

from spectranet import PluginError
from spectranet.config import Config, DataConfig, SourceConfig, TrainConfig
from spectranet.data.loader import TrainStream
from spectranet.data.readers import readers


def broken_transform(config, train):
    return _raise_bug


def _raise_bug(raw, rng):
    raise KeyError("a bug")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_is_not_taken_for_a_bad_sample_and_names_the_one_it_met(tmp_path, workers):
    for i in range(8):
        (tmp_path / f"{i}").write_text(f"{i},0")
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps({"left": f"{i}"}) for i in range(8)))
    source = SourceConfig(path=str(tmp_path / "m.jsonl"), modalities=["left"])
    config = Config(
        data=DataConfig(sources={"s": source}, workers=workers, threads=1),
        train=TrainConfig(steps=2, global_batch=4, slots=1),
    )
    buggy = replace(numbers("left", "left"), build_transform=broken_transform)
    begun = TrainStream(config, {"left": buggy}, readers(), {})
    with pytest.raises(PluginError) as caught:
        list(begun)
    begun.close()
    assert re.match(
        r"source 's', sample 'm\.jsonl:\d': KeyError: 'a bug'\n.*SPECTRANET_DEBUG=1$", str(caught.value)
    )
    assert not caught.value.same_on_all_ranks, "each rank has to tell its own"
    assert "in _raise_bug" in "".join(traceback.format_exception(caught.value)), "for SPECTRANET_DEBUG=1"
