"""Mixing, order and schedule: exact proportions, strict epochs, the same samples for every cut."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectranet.data.mixing import Mixture
from spectranet.data.order import Order
from spectranet.data.schedule import Schedule
from spectranet.errors import ConfigError

weights = st.lists(st.integers(1, 200).map(lambda w: w / 20), min_size=1, max_size=6)


def dealt_naively(weights: list[float], slots: int) -> list[int]:
    """Webster's method by its definition: sort everything by (j + 1/2) / weight, then by source."""
    units = [round(weight * 20) for weight in weights]
    entries = [
        (((2 * j + 1) * np.prod(units, dtype=object)) // unit, source)
        for source, unit in enumerate(units)
        for j in range(slots)
    ]
    return [source for _, source in sorted(entries)][:slots]


@given(weights, st.integers(0, 60))
def test_any_slot_has_the_source_that_dealing_from_the_start_gives(weights, first):
    expected = dealt_naively(weights, first + 8)
    mixture = Mixture.of(weights)
    assert [source for source, _ in mixture.deal(first, 8)] == expected[first:]
    before = Counter(expected[:first])
    assert mixture.counts_before(first) == [before[i] for i in range(len(weights))]


def test_65_20_15_is_exact_every_hundred_slots():
    for hundreds in (1, 7, 10**9):
        counts = Mixture.of([0.65, 0.2, 0.15]).counts_before(100 * hundreds)
        assert counts == [65 * hundreds, 20 * hundreds, 15 * hundreds]


@given(st.integers(1, 700), st.integers(0, 5), st.integers(0, 2**40))
@settings(max_examples=60)
def test_every_epoch_has_every_row_once(size, epoch, seed):
    order = Order(seed, "source", size)
    assert sorted(order.row(epoch * size + i) for i in range(size)) == list(range(size))


def test_orders_differ_between_epochs_sources_and_seeds():
    def rows(seed, source, epoch):
        return [Order(seed, source, 50).row(50 * epoch + i) for i in range(50)]

    orders = [rows(0, "a", 0), rows(0, "a", 1), rows(0, "b", 0), rows(1, "a", 0)]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("size", [7, 12, 16])
def test_every_row_lands_everywhere_alike(size):
    """Chi-squared of (position, row), and of (row, row that follows), over 2,000 epochs."""
    epochs = 2000
    order = Order(3, "source", size)
    rows_EN = np.array([[order.row(e * size + i) for i in range(size)] for e in range(epochs)])
    landed = np.zeros((size, size))
    followed = np.zeros((size, size))
    for i in range(size):
        np.add.at(landed[i], rows_EN[:, i], 1)
    np.add.at(followed, (rows_EN[:, :-1].ravel(), rows_EN[:, 1:].ravel()), 1)
    assert followed.diagonal().sum() == 0
    for counts, freedom in ((landed, (size - 1) ** 2), (followed[~np.eye(size, dtype=bool)], size**2 - size)):
        expected = counts.sum() / counts.size
        excess = ((counts - expected) ** 2 / expected).sum() - freedom
        assert excess < 5 * np.sqrt(2 * freedom)


def test_neighbours_in_storage_are_apart_in_a_large_source():
    size = 10**10
    rows = np.array([Order(0, "source", size).row(i) for i in range(2000)], dtype=np.float64)
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.1
    assert abs(np.diff(rows)).mean() == pytest.approx(size / 3, rel=0.1)


def test_an_order_of_ten_billion_rows_holds_none_of_them():
    order = Order(0, "source", 10**10)
    tracemalloc.start()
    rows = {order.row(9 * 10**9 + i) for i in range(1000)}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 1000 and peak < 1_000_000


cuts = st.tuples(st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from([None, 1, 2, 3, 12, 24]))


@given(weights, st.integers(1, 5), st.integers(0, 10**6), cuts)
def test_every_cut_reads_the_same_ordinals_in_the_same_places(weights, slots, step, cut):
    ranks, micro_batch = cut
    mixture = Mixture.of(weights)
    if micro_batch and 12 // ranks % micro_batch and micro_batch % (12 // ranks):
        micro_batch = 1
    whole = Schedule(mixture, 12 * slots, slots)
    schedule = Schedule(mixture, 12 * slots, slots, ranks, micro_batch)
    parts = [schedule.micro_batches(step, rank) for rank in range(ranks)]

    def samples(addresses):
        return {i: (a.source, o) for a in addresses for i, o in zip(a.ids, a.ordinals, strict=True)}

    assert samples(a for part in parts for a in part) == samples(whole.micro_batches(step, 0))
    assert all(len(a.ids) <= (micro_batch or schedule.share) for part in parts for a in part)
    for together in zip(*parts, strict=True):
        assert len({a.source for a in together}) == 1


@given(weights, st.integers(0, 1000))
def test_ordinals_of_a_source_follow_each_other_over_steps(weights, step):
    schedule = Schedule(Mixture.of(weights), 24, 4)
    taken = [a for s in (step, step + 1) for a in schedule.micro_batches(s, 0)]
    for source in range(len(weights)):
        ordinals = [o for a in taken if a.source == source for o in a.ordinals]
        assert ordinals == list(range(ordinals[0], ordinals[0] + len(ordinals))) if ordinals else True


@pytest.mark.parametrize(
    "sizes, words",
    [
        ((10, 4, 1, None), ("slots 4", "global_batch 10")),
        ((16, 4, 3, None), ("3 ranks", "4 samples", "global_batch 16")),
        ((32, 4, 2, 3), ("micro_batch 3", "4 samples", "2 ranks")),
        ((0, 4, 1, None), ("global_batch", "not 0")),
        ((8, 4, 1, 0), ("micro_batch", "not 0")),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_the_numbers(sizes, words):
    with pytest.raises(ConfigError) as caught:
        Schedule(Mixture((1,)), *sizes)
    for word in words:
        assert word in str(caught.value)


@given(
    st.integers(1, 300),
    st.integers(1, 6),
    st.integers(1, 6),
    st.none() | st.integers(1, 24),
)
@settings(max_examples=200, deadline=None)
def test_the_size_offered_instead_works_and_no_nearer_one_does(batch, slots, ranks, micro_batch):
    def refusal(batch: int, micro_batch: int | None) -> str:
        try:
            Schedule(Mixture((1,)), batch, slots, ranks, micro_batch)
        except ConfigError as error:
            return str(error)
        return ""

    if not (message := refusal(batch, micro_batch)):
        return
    name, _, offered = message.rpartition("this works:  train.")[2].partition("=")
    wrong, offer = {"global_batch": batch, "micro_batch": micro_batch}[name], int(offered)
    tried = range(max(1, wrong - abs(offer - wrong) + 1), wrong + abs(offer - wrong))
    if name == "global_batch":
        assert not refusal(offer, micro_batch)
        assert all(refusal(size, micro_batch) for size in tried)
    else:
        assert not refusal(batch, offer)
        assert all(refusal(batch, size) for size in tried)


def test_a_source_smaller_than_a_slot_is_refused_with_the_numbers():
    schedule = Schedule(Mixture((1, 1)), 64, 4)
    schedule.check_sizes({"enough": 16})
    with pytest.raises(ConfigError, match=r"'few' has 15 samples, fewer than the 16 of one slot.*64 .*4"):
        schedule.check_sizes({"enough": 16, "few": 15})


def test_a_large_micro_batch_puts_the_slots_of_a_source_together():
    schedule = Schedule(Mixture((3, 1)), 64, 8, ranks=2, micro_batch=16)
    addresses = schedule.micro_batches(0, 1)
    assert [(a.source, len(a.ids)) for a in addresses] == [(0, 16), (0, 8), (1, 8)]
