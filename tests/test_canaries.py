"""Hostile artefacts are refused or inert: nothing in them runs, nothing they point at is shown.

``canaries/make.py`` makes them. Each would create the canary file if it were unpickled, unpacked or built
carelessly, or bring a secret, of the environment or of a file, into what the run reads or tells.
"""

from __future__ import annotations

import json
import logging
import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from spectranet.config import load_config
from spectranet.config.schema import CheckpointConfig, OptimizerConfig
from spectranet.data.options import OpenOptions
from spectranet.data.readers import readers
from spectranet.errors import SpectraNetError
from spectranet.train.checkpoint import Saver, find_good_checkpoint, load_checkpoint
from spectranet.train.distributed import start_world
from spectranet.train.optimizer import build_optimizer

make = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "canaries" / "make.py")))
SECRET = "correct-horse-battery-staple"


@pytest.fixture
def canary(tmp_path, monkeypatch, capfd, caplog) -> Iterator[Path]:
    """A file that must not come to exist; afterwards, it does not, and no output held the secret."""
    monkeypatch.setenv("SPECTRANET_SECRET", SECRET)
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code in an artefact has run"
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err + caplog.text


def state() -> tuple[nn.Module, torch.optim.AdamW]:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    return model, build_optimizer(model, OptimizerConfig())


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    model, optimizer = state()
    for step in (1, 2):
        Saver(folder, CheckpointConfig(keep_last=2), start_world("cpu", 1)).save_last(
            step, model, optimizer, {}
        )
    return folder


@pytest.fixture
def checkpoint(good, tmp_path) -> Path:
    """The newest of two checkpoints, to be spoilt."""
    shutil.copytree(good, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / "step-00000002"


def loaded(checkpoint: Path) -> tuple[int, list[str]]:
    """The step that a run would go on from, and what it would say; the state is loaded."""
    found, complaints = find_good_checkpoint(checkpoint.parent)
    assert found is not None
    load_checkpoint(found, *state())
    return found.step, complaints


def test_a_pickle_that_torch_would_read_beside_a_checkpoint_is_inert(canary, checkpoint):
    make.with_pickled_metadata(checkpoint, canary)
    assert loaded(checkpoint) == (2, [])


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pkl", "../rng_state.safetensors"])
def test_a_pickle_that_a_manifest_lists_as_optimizer_or_random_state_is_refused(canary, checkpoint, name):
    make.with_pickled_member(checkpoint, canary, name)
    step, (complaint,) = loaded(checkpoint)
    assert step == 1
    assert f"manifest.json names '{name}', which is no tensor file" in complaint


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path, canary: make.with_pickle_as_shard(path, canary), "header"),
        (lambda path, canary: make.with_huge_header(path), "header"),
        (lambda path, canary: make.with_overlap(path), "offset"),
    ],
    ids=["pickle", "huge-header", "overlapping-offsets"],
)
def test_a_shard_that_is_none_is_refused_though_the_manifest_vouches_for_it(
    canary, checkpoint, spoil, reason
):
    spoil(checkpoint, canary)
    with pytest.raises(SpectraNetError, match=r"rank-00000-000\.safetensors cannot be read") as caught:
        loaded(checkpoint)
    assert reason in str(caught.value).lower()


def test_a_manifest_that_claims_other_tensors_than_the_files_hold_is_refused(canary, checkpoint):
    tensors = json.loads((checkpoint / "manifest.json").read_text())["tensors"]
    (checkpoint / "rank-00000-000.safetensors").write_bytes(
        make.safetensors({"__metadata__": {"DCP_SHARDING_INFO": "{}"}}, b"")
    )
    make.rewrite_manifest(checkpoint, tensors=tensors)
    with pytest.raises(SpectraNetError, match="its files hold 0 of the"):
        loaded(checkpoint)


@pytest.mark.parametrize(
    "text",
    [
        "run_dir: !!python/object/apply:os.open [{canary}, 65]",
        "run_dir: !!python/object/new:pathlib.Path [{canary}]",
        "run_dir: !!python/name:os.system",
    ],
)
def test_tags_of_yaml_build_nothing(canary, tmp_path, text):
    file = tmp_path / "hostile.yaml"
    file.write_text("extends: tiny\n" + text.format(canary=canary))
    with pytest.raises(SpectraNetError, match="tags are not supported"):
        load_config([str(file)], [], ["text"])


@pytest.mark.parametrize("where", ["file", "command line"])
def test_references_to_the_environment_are_refused_unresolved(canary, tmp_path, where):
    file = tmp_path / "hostile.yaml"
    value = "${oc.env:SPECTRANET_SECRET}"
    file.write_text("extends: tiny\n" + (f"run_dir: '{value}'" if where == "file" else ""))
    overrides = [f"run_dir={value}"] if where == "command line" else []
    with pytest.raises(SpectraNetError, match="is a reference; write the value itself") as caught:
        load_config([str(file)], overrides, ["text"])
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["symlink_tar", "hardlink_tar"])
def test_a_link_in_a_tar_leads_nowhere(canary, tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    texts, refused = read_tar(tmp_path, lambda path: getattr(make, kind)(path, secret))
    assert texts == [f"a good sentence {i}" for i in range(8)]
    assert any("link, device or sparse member" in reason for reason in refused)


def test_names_that_lead_out_of_a_tar_are_refused_and_written_nowhere(canary, tmp_path):
    texts, refused = read_tar(tmp_path, lambda path: make.names_tar(path, canary))
    assert texts == [f"a good sentence {i}" for i in range(8)]
    (reason,) = [reason for reason in refused if "name outside the archive" in reason]
    assert refused[reason] == 3


def read_tar(folder: Path, write: Callable[[Path], None]) -> tuple[list[str], dict[str, Any]]:
    """The text of every sample, and what was refused of the archive, by reason."""
    path = folder / "hostile.tar"
    write(path)
    reader = next(reader for reader in readers() if reader.matches(str(path)))
    samples = reader.open(str(path), OpenOptions(needs=(("txt",),)))
    texts = [samples.read(row, ("txt",)).fields["txt"].decode() for row in range(len(samples))]
    return texts, dict(samples.dropped)
