"""The training stream: one global batch for every cut, faults counted."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numbers_modality import numbers

from spectranet import Batch, ConfigError, DataError
from spectranet.config import Config, DataConfig, EvalConfig, SourceConfig, TrainConfig
from spectranet.data.loader import EvalData, TrainStream
from spectranet.data.readers import readers

LEFT, RIGHT = numbers("left", "left", "l"), numbers("right", "right", "r")
MODALITIES = {"left": LEFT, "right": RIGHT}
RATIOS = {"left": 0.4}
STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """``pairs.tar``: 30 samples of l and r, ``lefts.jsonl``: 20 rows of left; sample i starts with i."""
    folder = tmp_path_factory.mktemp("data")
    with tarfile.open(folder / "pairs.tar", "w") as tar:
        for i in range(30):
            add(tar, f"{i}.l", ",".join(str(i + j) for j in range(1 + i % 5)))
            add(tar, f"{i}.r", f"{i},{-i}")
    (folder / "files").mkdir()
    for i in range(20):
        (folder / "files" / f"{i}").write_text(f"{100 + i},0,0")
    rows = [{"left": f"files/{i}", "split": "train" if i % 2 else "test"} for i in range(20)]
    (folder / "lefts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def add(tar: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text.encode()))


def config(folder: Path, *, data: dict | None = None, sources: dict | None = None, **train) -> Config:
    standard = {
        "pairs": SourceConfig(path=str(folder / "pairs.tar"), modalities=["right", "left"], weight=0.7),
        "lefts": SourceConfig(path=str(folder / "lefts.jsonl"), modalities=["left"], weight=0.3),
    }
    return Config(
        data=DataConfig(**{"sources": sources or standard, "workers": 0, "threads": 1} | (data or {})),
        train=TrainConfig(**{"steps": STEPS, "global_batch": 24, "slots": 2} | train),
    )


def stream(config: Config, **options) -> TrainStream:
    return TrainStream(config, MODALITIES, readers(), RATIOS, **options)


def described(batch: Batch) -> dict[int, tuple]:
    """Everything that a batch says of each sample, without the padding of its neighbours."""
    samples = {}
    for i, (number, key) in enumerate(zip(batch.ids_B.tolist(), batch.keys, strict=True)):
        views = []
        for name, one in batch.modalities.items():
            valid = one.valid_BN[i]
            views.append(
                (
                    name,
                    one.data["x"][i, : int(valid.sum())].tolist(),
                    one.position_BNP[i][valid].tolist(),
                    one.segment_BN[i][valid].tolist(),
                    one.visible_BV[i][one.visible_valid_BV[i]].tolist(),
                    one.hidden_BH[i][one.hidden_valid_BH[i]].tolist(),
                    int(one.content_B[i]),
                )
            )
        samples[number] = (batch.source, key, views)
    return samples


def global_batches(config: Config, ranks: int = 1, start_step: int = 0) -> list[dict[int, tuple]]:
    """Per step, all samples of all ranks by their identity."""
    streams = [stream(config, rank=rank, ranks=ranks, start_step=start_step) for rank in range(ranks)]
    steps = []
    for of_ranks in zip(*streams, strict=True):
        samples: dict[int, tuple] = {}
        for batches in of_ranks:
            for batch in batches:
                found = described(batch)
                assert not samples.keys() & found.keys()
                samples |= found
        steps.append(samples)
    return steps


@pytest.fixture(scope="module")
def whole(folder) -> list[dict[int, tuple]]:
    return global_batches(config(folder))


@given(
    ranks=st.sampled_from([1, 2, 3, 4, 6, 12]),
    part=st.sampled_from([None, 1, 2, 3, 24]),
    threads=st.integers(1, 3),
    start=st.integers(0, STEPS - 1),
)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_cut_and_every_start_gives_the_same_global_batches(folder, whole, ranks, part, threads, start):
    micro_batch = part if part and (12 // ranks % part == 0 or part % (12 // ranks) == 0) else None
    cut = config(folder, data={"threads": threads}, micro_batch=micro_batch)
    assert global_batches(cut, ranks, start) == whole[start:]


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_give_the_same_batches_in_the_same_order(folder, whole, workers):
    cut = config(folder, data={"workers": workers, "threads": 2, "prefetch": 2}, micro_batch=3)
    assert global_batches(cut, ranks=2, start_step=2) == whole[2:]


def test_a_step_has_every_identity_once_and_micro_batches_of_one_source(whole, folder):
    assert all(sorted(samples) == list(range(24)) for samples in whole)
    for batches in stream(config(folder, micro_batch=4)):
        assert [len(batch) for batch in batches] == [4] * 6
        for batch in batches:
            assert list(batch.modalities) == (["left", "right"] if batch.source == "pairs" else ["left"])


def test_nothing_is_lost_or_repeated_within_an_epoch(folder):
    taken: dict[str, list[str]] = {"pairs": [], "lefts": []}
    for batches in stream(config(folder, steps=20)):
        for batch in batches:
            taken[batch.source] += batch.keys
    assert len(taken["pairs"]) == 28 * 12 and len(taken["lefts"]) == 12 * 12
    for source, size in (("pairs", 30), ("lefts", 20)):
        keys = taken[source]
        epochs = [keys[i : i + size] for i in range(0, len(keys) - size + 1, size)]
        assert len(epochs) >= 7
        assert all(len(set(epoch)) == size for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_another_seed_gives_other_samples_augmentation_and_masks(folder, whole):
    other = global_batches(config(folder, seed=1, steps=1))[0]
    assert [sample[1] for _, sample in sorted(other.items())] != [s[1] for _, s in sorted(whole[0].items())]


def test_augmentation_and_masks_change_from_epoch_to_epoch(folder):
    seen: dict[str, set[str]] = {}
    for samples in global_batches(config(folder, steps=20)):
        for source, key, views in samples.values():
            seen.setdefault(f"{source}/{key}", set()).add(str(views[0][1]))
    assert all(len(values) >= 7 for values in seen.values())


def test_only_modalities_with_a_ratio_hide_tokens_and_one_stays_visible(folder):
    full = TrainStream(config(folder), MODALITIES, readers(), {"left": 1.0})
    for batches in full:
        for batch in batches:
            left = batch.modalities["left"]
            assert torch.equal(left.visible_valid_BV.sum(1), torch.ones(len(batch), dtype=torch.int64))
            assert torch.equal(left.hidden_valid_BH.sum(1), left.valid_BN.sum(1) - 1)
            if batch.source == "pairs":
                assert batch.modalities["right"].hidden_BH.shape == (12, 0)


def test_the_share_of_hidden_tokens_is_the_ratio(folder):
    hidden = tokens = 0
    for batches in stream(config(folder, steps=40)):
        for batch in batches:
            if batch.source == "lefts":
                hidden += int(batch.modalities["left"].hidden_valid_BH.sum())
                tokens += int(batch.modalities["left"].valid_BN.sum())
    # One token of three always stays: 0.4 less a third of 0.4³.
    assert hidden / tokens == pytest.approx(0.4 - 0.4**3 / 3, abs=0.04)


def test_padding_is_marked_and_has_position_0_and_segment_minus_1(folder):
    source = {"pairs": SourceConfig(path=str(folder / "pairs.tar"), modalities=["left", "right"])}
    data = EvalData(Config(eval=EvalConfig(sources=source, batch=8)), MODALITIES, readers())
    left = next(iter(data.batches("pairs"))).modalities["left"]
    lengths = left.valid_BN.sum(1).tolist()
    assert lengths == [1, 2, 3, 4, 5, 1, 2, 3]
    assert left.position_BNP[3].tolist() == [[0], [1], [2], [3], [0]]
    assert left.segment_BN[3].tolist() == [0, 0, 1, 1, -1]
    assert left.visible_BV[3].tolist() == [0, 1, 2, 3, 0]
    assert left.visible_valid_BV[3].tolist() == [True] * 4 + [False]
    assert left.hidden_BH.shape == left.hidden_valid_BH.shape == (8, 0)
    assert {left.position_BNP.dtype, left.segment_BN.dtype, left.visible_BV.dtype} == {torch.int64}


def test_equal_bytes_have_equal_content_hashes_and_others_do_not(folder):
    source = SourceConfig(
        path=str(folder / "pairs.tar"), modalities=["left", "right"], fields={"left": "r", "right": "r"}
    )
    for batches in stream(config(folder, sources={"same": source})):
        for batch in batches:
            left, right = (batch.modalities[name].content_B for name in ("left", "right"))
            assert torch.equal(left, right)
            assert len(set(left.tolist())) == len(set(batch.keys))


# --------------------------------------------------------------------------------------- options


def test_overrides_of_a_source_reach_the_transform_nested_ones_too(folder):
    source = SourceConfig(
        path=str(folder / "lefts.jsonl"),
        modalities=["left"],
        overrides={"left": {"offset": 1000.0, "noise": {"scale": 0.0}}},
        where={"split": "test"},
    )
    batch = next(iter(stream(config(folder, sources={"far": source}, global_batch=10))))[0]
    numbers_BN = batch.modalities["left"].data["x"]
    assert set(numbers_BN[:, 0].tolist()) <= {1100.0 + i for i in range(0, 20, 2)}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"modalities": ["lefd"]}, r"source 's': modality 'lefd' is not loaded. Did you mean 'left'\?"),
        ({"modalities": []}, "source 's': it lists no modalities"),
        ({"path": ""}, "source 's': it has no path"),
        ({"path": "gone.jsonl"}, r"source 's': 'gone\.jsonl' does not exist"),
        ({"path": "gone"}, "source 's': 'gone' does not exist"),
        ({"format": "webdatset"}, r"source 's': format 'webdatset' is unknown. Did you mean 'webdataset'\?"),
        ({"fields": {"right": "x"}}, "source 's': fields.right: 'right' is not among its modalities"),
        (
            {"fields": {"left": "nothing"}},
            r"(?s)source 's': no sample .* can be used.*20 rows without left",
        ),
        ({"weight": 0.0}, "source 's': weight must be a positive number, not 0.0"),
        ({"overrides": {"left": {"ofset": 1}}}, r"(?s)source 's': overrides of modality 'left': .*ofset"),
        ({"overrides": {"left": {"offset": "x"}}}, r"(?s)source 's': overrides of modality 'left': .*'x'"),
        ({"where": {"split": "none"}}, r"source 's': manifest .* has no row with split=none \(from where\)"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_by_name(folder, options, message):
    given = {"path": str(folder / "lefts.jsonl"), "modalities": ["left"]} | options
    with pytest.raises(ConfigError, match=message):
        stream(config(folder, sources={"s": SourceConfig(**given)}))


def test_the_problems_of_all_sources_are_reported_at_once(folder):
    bad = {name: SourceConfig(path="", modalities=["left"]) for name in ("a", "b")}
    with pytest.raises(ConfigError, match=r"(?s)source 'a': it has no path.*source 'b': it has no path"):
        stream(config(folder, sources=bad))


# ---------------------------------------------------------------------------------------- faults


def spoilt(folder: Path, bad: int, of: int = 20) -> SourceConfig:
    """A source of which the first ``bad`` rows cannot be used: gone, undecodable or without a token."""
    rows = []
    for i in range(of):
        path = folder / f"{i}.txt"
        if i >= bad or i % 3:
            path.write_text(f"{i},0" if i >= bad else ("oops" if i % 3 == 1 else ","))
        rows.append({"left": path.name, "key": f"key{i}"})
    (folder / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return SourceConfig(path=str(folder / "m.jsonl"), modalities=["left"])


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_samples_are_replaced_counted_and_named(tmp_path, workers):
    train = config(tmp_path, sources={"s": spoilt(tmp_path, 6)}, data={"workers": workers}, global_batch=20)
    batches = stream(train)
    skipped = [each for step in batches for batch in step for each in batch.skipped]
    failures = batches.failures["s"]
    # Twenty samples a step are an epoch: each bad row is counted once, however bad what it is replaced by.
    assert (failures.tried, failures.failed) == (20 * STEPS, 6 * STEPS)
    assert len(skipped) > failures.failed == sum(each.attempt == 0 for each in skipped)
    assert {each.key for each in skipped} == {f"key{i}" for i in (1, 2, 4, 5)} | {"m.jsonl:1", "m.jsonl:4"}
    reasons = " ".join(failures.reasons)
    for words in ("does not exist", "not numbers", "gives no token"):
        assert words in reasons
    assert len(failures.examples) == 10


def test_replacements_are_the_same_for_every_cut(tmp_path):
    source = {"s": spoilt(tmp_path, 9)}
    expected = global_batches(config(tmp_path, sources=source))
    cut = config(tmp_path, sources=source, micro_batch=2, data={"threads": 2})
    assert global_batches(cut, ranks=3, start_step=3) == expected[3:]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_source_without_a_usable_sample_ends_the_run_with_a_plain_message(tmp_path, workers):
    train = config(tmp_path, sources={"s": spoilt(tmp_path, 20)}, data={"workers": workers})
    with pytest.raises(DataError) as caught:
        list(stream(train))
    assert str(caught.value).startswith(
        "source 's': none of the 20 samples that were tried (of 20) can be used\n"
    )
    assert "Traceback" not in str(caught.value)


# ----------------------------------------------------------------------------------------- workers


def test_the_trainers_generator_is_not_touched(folder):
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    list(stream(config(folder, data={"workers": 1})))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def children() -> set[int]:
    """Of this thread, which starts the workers; others may end while one reads their entries."""
    own = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    return {int(pid) for pid in own.read_text().split()}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_the_stream_however_it_ends(folder):
    before = children()
    begun = stream(config(folder, steps=10**6, data={"workers": 2}))
    steps = iter(begun)
    next(steps)
    assert len(children() - before) == 2
    begun.close()
    assert children() == before
    unused = stream(config(folder, data={"workers": 2}))
    assert len(children() - before) == 2
    unused.close()
    assert children() == before
    list(stream(config(folder, data={"workers": 2})))
    assert children() == before


TRAINER = """
import os, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_data_loader as t
stream = t.stream(t.config(Path(sys.argv[1]), steps=10**6, data={"workers": 2}))
steps = iter(stream)
next(steps)
print(*t.children(), flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_outlive_a_schedulers_signals_but_not_a_killed_trainer(folder):
    here = Path(__file__).parent
    command = [sys.executable, "-c", TRAINER, str(folder), str(here), str(here / "shared")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        try:
            assert trainer.stdout is not None
            workers = [int(pid) for pid in trainer.stdout.readline().split()]
            assert len(workers) == 2
            for name in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                for pid in workers:
                    os.kill(pid, name)
            time.sleep(0.3)
            assert all(is_running(pid) for pid in workers)
        finally:
            trainer.kill()
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their trainer"
        time.sleep(0.05)
