"""The step is the whole state: stopped anywhere, gone on with any topology, a run sees the same samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbers_modality import numbers
from same_samples import Step, Topology, steps_of

from spectranet import DataError, PluginError, RawSample, Reader
from spectranet.config import Config, DataConfig, SourceConfig, TrainConfig
from spectranet.data.corpus import corpus_changes, describe_corpus
from spectranet.data.source import Source, open_sources

MODALITIES = {"left": numbers("left")}


class Shards:
    """A third party's format: the path lists the number of samples of each shard, ``5+0+7``.

    Some samples cannot be read: every 13th; one more shard, ``7!``, not at all.
    """

    def __init__(self, path: str, options: object) -> None:
        named = path.removeprefix("shards:").split("+")
        self.parts = [int(name.rstrip("!")) for name in named]
        self._gone = {i for i, name in enumerate(named) if name.endswith("!")}
        self._keys = [(part, i) for part, rows in enumerate(self.parts) for i in range(rows)]

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, row: int, wanted: Sequence[str]) -> RawSample:
        part, i = self._keys[row]
        if part in self._gone or row % 13 == 12:
            raise DataError(f"shard {part} has no sample {i}")
        numbers = ",".join(str(1 + row + j) for j in range(1 + row % 5))
        return RawSample(f"{part}/{i}", {"left": numbers.encode()})


READERS = [Reader("shards", lambda path: path.startswith("shards:"), Shards)]


@dataclass(frozen=True)
class Case:
    """A training run, and the lives it had: each with its topology, up to a step."""

    config: Config
    lives: list[tuple[Topology, int]]


@st.composite
def cases(draw) -> Case:
    slot_size, slots = draw(st.sampled_from([1, 2, 4, 6, 12])), draw(st.integers(1, 4))
    sources = {}
    for number in range(draw(st.integers(1, 3))):
        shards = [str(rows) for rows in draw(st.lists(st.integers(0, 9), min_size=0, max_size=8))]
        shards.insert(draw(st.integers(0, len(shards))), str(slot_size + draw(st.integers(1, 9))))
        if draw(st.booleans()):
            shards.insert(draw(st.integers(0, len(shards))), f"{draw(st.integers(1, 3))}!")
        sources[f"source{number}"] = SourceConfig(
            path="shards:" + "+".join(shards),
            modalities=["left"],
            weight=draw(st.sampled_from([0.2, 0.65, 1.0])),
        )
    steps = draw(st.integers(2, 12))
    config = Config(
        data=DataConfig(sources=sources, window_shards=draw(st.integers(1, 6))),
        train=TrainConfig(
            steps=steps, global_batch=slots * slot_size, slots=slots, seed=draw(st.integers(0, 2**32))
        ),
    )
    stops = sorted({*draw(st.lists(st.integers(1, steps - 1), max_size=3)), steps})
    return Case(config, [(draw(topologies(slot_size)), stop) for stop in stops])


@st.composite
def topologies(draw, slot_size: int) -> Topology:
    ranks = draw(st.sampled_from([n for n in range(1, slot_size + 1) if slot_size % n == 0]))
    share = slot_size // ranks
    fitting = [n for n in range(1, 3 * share + 1) if share % n == 0 or n % share == 0]
    return Topology(ranks, draw(st.sampled_from([None, *fitting])), threads=draw(st.integers(1, 2)))


def read(case: Case) -> list[Step]:
    steps: list[Step] = []
    for topology, stop in case.lives:
        steps += steps_of(case.config, MODALITIES, READERS, topology, len(steps), stop)
    return steps


@given(cases())
@settings(max_examples=60, deadline=None)
def test_a_run_of_many_lives_sees_what_an_uninterrupted_one_does(case):
    steps = case.config.train.steps
    expected = steps_of(case.config, MODALITIES, READERS, Topology(), 0, steps)
    assert read(case) == expected
    assert all(list(step) == list(range(case.config.train.global_batch)) for step in expected)


@given(cases())
@settings(max_examples=30, deadline=None)
def test_nothing_is_lost_or_repeated_within_an_epoch_of_any_source(case):
    """Of readable rows; those that cannot be read have others in their place, which thus come again."""
    sources = open_sources(case.config.data.sources, MODALITIES, READERS, case.config.data)
    readable = {
        source.name: {row for row in range(len(source)) if is_readable(source, row)} for source in sources
    }
    taken: dict[str, list[int]] = defaultdict(list)
    for step in read(case):
        for source, key, _ in step.values():
            taken[source].append(row_of(case.config.data.sources[source].path, key))
    for source in sources:
        rows, size = taken[source.name], len(source)
        epochs = [rows[i : i + size] for i in range(0, len(rows), size)]
        for epoch in epochs:
            again = len(epoch) - len(set(epoch))
            assert again <= size - len(readable[source.name])
            if len(epoch) == size:
                assert set(epoch) == readable[source.name]


def is_readable(source: Source, row: int) -> bool:
    try:
        return bool(source.read(row))
    except DataError:
        return False


def row_of(path: str, key: str) -> int:
    part, i = (int(word) for word in key.split("/"))
    return sum(Shards(path, None).parts[:part]) + i


def test_a_window_of_dead_shards_is_replaced_from_elsewhere():
    sources = {"s": SourceConfig(path="shards:9+9!+9", modalities=["left"])}
    config = Config(
        data=DataConfig(sources=sources, window_shards=1), train=TrainConfig(steps=9, global_batch=3, slots=1)
    )
    steps = steps_of(config, MODALITIES, READERS, Topology(), 0, 9)
    assert {key.split("/")[0] for step in steps for _, key, _ in step.values()} == {"0", "2"}


# ---------------------------------------------------------------------------- another corpus


def described(**paths: str) -> dict[str, dict]:
    sources = {name: SourceConfig(path=path, modalities=["left"]) for name, path in paths.items()}
    return describe_corpus(open_sources(sources, MODALITIES, READERS, DataConfig()))


@pytest.mark.parametrize(
    "before, now, told",
    [
        ("5+7", "5+7", []),
        ("5+1200", "5+1200+9", ["had 1,205 samples in 2 shards, now 1,214 samples in 3 shards"]),
        ("5", "5+7", ["had 5 samples in 1 shard, now 12 samples in 2 shards"]),
        ("5+7", "7+5", ["has as many samples as before, 12 samples in 2 shards, but other numbers"]),
    ],
)
def test_other_shards_are_told_by_source_with_the_numbers(before, now, told):
    lines = list(
        corpus_changes(
            described(same="shards:3", s="shards:" + before), described(same="shards:3", s="shards:" + now)
        )
    )
    assert len(lines) == len(told)
    for line, words in zip(lines, told, strict=True):
        assert line.startswith("source 's' ") and words in line


def test_a_source_that_is_new_or_gone_is_told_of_by_the_configuration_alone():
    assert list(corpus_changes({}, described(s="shards:5"))) == []
    assert list(corpus_changes(described(s="shards:5"), {})) == []


def test_a_reader_whose_parts_do_not_add_up_is_named():
    class Wrong(Shards):
        def __len__(self) -> int:
            return 3

    source = Source("s", Wrong("5+7", None), ("left",), {"left": ("left",)})
    with pytest.raises(PluginError, match="source 's': its reader counts 12 rows in parts, and 3 in all"):
        describe_corpus([source])
