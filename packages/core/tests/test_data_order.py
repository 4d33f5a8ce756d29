"""Mixing, order and schedule: exact proportions, strict epochs, the same samples for every cut."""

from __future__ import annotations

import pickle
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectranet.data.ahead import Ahead
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


shards = st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any)
"""Rows of each part of a source; some parts have none."""


@given(shards, st.integers(1, 40), st.integers(0, 5), st.integers(0, 2**40))
@settings(max_examples=150)
def test_every_epoch_has_every_row_once(parts, window, epoch, seed):
    order = Order(seed, "source", parts, window)
    rows = [order.row(epoch * order.size + i) for i in range(order.size)]
    assert sorted(rows) == list(range(order.size))


@given(shards, st.integers(1, 40), st.integers(0, 3))
def test_windows_hold_about_as_many_parts_as_asked_and_mix_no_others(parts, window, epoch):
    order = Order(7, "source", parts, window)
    part_of_row = np.repeat(np.arange(len(parts)), parts)
    first, seen, sizes = epoch * order.size, [], []
    while first < (epoch + 1) * order.size:
        end = order.window_end(first)
        inside = {int(part_of_row[order.row(ordinal)]) for ordinal in range(first, end)}
        assert end - first == sum(parts[part] for part in inside)
        seen += inside
        sizes.append(len(inside))
        first = end
    assert sorted(seen) == [part for part, rows in enumerate(parts) if rows]
    assert max(sizes) <= max(1.5 * window, 1)
    if 0 not in parts:
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == 1 or min(sizes) >= window / 1.5


def test_parts_fewer_than_a_window_are_mixed_as_one():
    order = Order(0, "source", [10] * 32, 32)
    rows = np.array([order.row(i) for i in range(320)])
    assert order.window_end(0) == 320
    assert len(set(rows[:32] // 10)) > 15


@given(shards, st.integers(1, 40), st.permutations(range(40)))
def test_a_row_does_not_depend_on_what_was_asked_before(parts, window, asked):
    """Windows and epochs that are kept for the next question change no answer."""
    order = Order(1, "source", parts, window)
    far = [i * max(1, order.size // 13) for i in asked]
    assert [order.row(i) for i in far] == [Order(1, "source", parts, window).row(i) for i in far]


def test_orders_differ_between_epochs_sources_seeds_and_windows():
    def rows(seed, source, epoch, window=100):
        order = Order(seed, source, [10] * 5, window)
        return tuple(order.row(50 * epoch + i) for i in range(50))

    orders = [rows(0, "a", 0), rows(0, "a", 1), rows(0, "b", 0), rows(1, "a", 0), rows(0, "a", 0, 2)]
    assert len(set(orders)) == 5


def test_an_order_is_the_same_in_another_process_and_release():
    """Written down once: a run that goes on under a newer release must find the same order."""
    order = Order(5, "source", [3, 0, 4, 2, 5, 1], 2)
    first = (3, 6, 4, 5, 8, 7, 14, 1, 0, 2, 12, 13, 10, 9, 11)
    second = (6, 4, 3, 14, 5, 7, 8, 12, 9, 13, 10, 1, 2, 0, 11)
    assert tuple(order.row(i) for i in range(30)) == first + second
    assert [order.replacement(3, attempt) for attempt in range(1, 12)] == [4, 5, 3, 6, 4, 5, 3, 6, 3, 6, 9]


def test_an_order_pickles_and_threads_share_it():
    order = Order(0, "source", [50] * 64, 8)
    expected = [Order(0, "source", [50] * 64, 8).row(i) for i in range(2 * order.size)]
    copy = pickle.loads(pickle.dumps(order))
    with ThreadPoolExecutor(4) as pool:
        ordinals = [i for start in range(4) for i in range(start, 2 * order.size, 4)]
        rows = dict(zip(ordinals, pool.map(copy.row, ordinals), strict=True))
    assert [rows[i] for i in range(2 * order.size)] == expected


@pytest.mark.parametrize("size", [7, 12, 16])
def test_every_row_lands_everywhere_alike(size):
    """Chi-squared of (position, row), and of (row, row that follows), over 2,000 epochs."""
    order = Order(3, "source", [size], 1)
    landed, followed = landing(order, epochs=2000)
    assert followed.diagonal().sum() == 0
    assert_even(landed, (size - 1) ** 2)
    assert_even(followed[~np.eye(size, dtype=bool)], size**2 - size)


def test_every_part_lands_everywhere_alike():
    """Parts of one row, each its own window: the order of rows is that of the parts."""
    order = Order(3, "source", [1] * 16, 1)
    landed, followed = landing(order, epochs=2000)
    assert_even(landed, 15**2)
    assert_even(followed[~np.eye(16, dtype=bool)], 16**2 - 16)


def landing(order: Order, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """How often (position, row), and (row, row after it), occur."""
    size = order.size
    rows_EN = np.array([[order.row(e * size + i) for i in range(size)] for e in range(epochs)])
    landed, followed = np.zeros((size, size)), np.zeros((size, size))
    for i in range(size):
        np.add.at(landed[i], rows_EN[:, i], 1)
    np.add.at(followed, (rows_EN[:, :-1].ravel(), rows_EN[:, 1:].ravel()), 1)
    return landed, followed


def assert_even(counts: np.ndarray, freedom: int) -> None:
    expected = counts.sum() / counts.size
    excess = ((counts - expected) ** 2 / expected).sum() - freedom
    assert excess < 5 * np.sqrt(2 * freedom)


def test_neighbours_in_storage_are_apart_in_a_large_source():
    size = 10**10
    order = Order(0, "source", [size], 32)
    rows = np.array([order.row(i) for i in range(2000)], dtype=np.float64)
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.1
    assert abs(np.diff(rows)).mean() == pytest.approx(size / 3, rel=0.1)


def test_an_order_of_ten_billion_rows_in_a_million_parts_holds_none_of_them():
    """Memory is that of arrays over the parts, for at most two epochs, wherever one looks."""
    parts = np.full(10**6, 10**4)
    tracemalloc.start()
    order = Order(0, "source", parts, 32)
    rows = [order.row(epoch * 10**10 + 9 * 10**9 + i) for epoch in range(3) for i in range(1000)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(set(rows)) == 3000
    assert held < 40 * len(parts)


# ------------------------------------------------------------------------------------ replacements


@given(shards, st.integers(1, 10), st.integers(0, 2000))
def test_replacements_are_near_at_first_and_reach_every_row_in_the_end(parts, window, ordinal):
    order = Order(0, "source", parts, window)
    first = next(
        i for i in range(ordinal - ordinal % order.size, ordinal + 1) if order.window_end(i) > ordinal
    )
    nearby = {order.row(i) for i in range(first, order.window_end(ordinal))}
    near = [order.replacement(ordinal, attempt) for attempt in range(1, 9)]
    assert set(near) <= nearby
    assert len(set(near)) == min(8, len(nearby))
    far = [order.replacement(ordinal, attempt) for attempt in range(9, 9 + order.size)]
    assert sorted(far) == list(range(order.size))


def test_samples_that_follow_each_other_are_replaced_by_others():
    order = Order(0, "source", [1000], 1)
    chosen = [order.replacement(ordinal, attempt) for ordinal in range(100) for attempt in (1, 2)]
    assert len(set(chosen)) > 170


# ----------------------------------------------------------------------------------- parts ahead


@given(shards, st.integers(1, 10), st.integers(0, 500))
def test_the_parts_ahead_are_those_that_the_next_samples_come_from(parts, window, ordinal):
    order = Order(0, "source", parts, window)
    part_of_row = np.repeat(np.arange(len(parts)), parts)
    end = order.window_end(order.window_end(ordinal))
    used = {int(part_of_row[order.row(i)]) for i in range(ordinal, end)}
    ahead = order.parts_ahead(ordinal)
    assert used <= set(ahead) and len(set(ahead)) == len(ahead)
    assert all(parts[part] for part in ahead)


class Told:
    """A sample set that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def ahead(self, parts: list[int]) -> None:
        self.calls.append(parts)


def test_a_sample_set_is_told_once_a_window_however_many_threads_read():
    order, told = Order(0, "source", [5] * 12, 3), Told()
    ahead = Ahead(told, order)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ahead.reach, range(2 * order.size)))
    assert sorted(told.calls) == sorted(order.parts_ahead(i) for i in range(0, 120, 15))


def test_a_sample_set_that_cannot_look_ahead_is_left_alone():
    deaf = SimpleNamespace()
    Ahead(deaf, Order(0, "source", [5], 1)).reach(0)
    assert vars(deaf) == {}


# -------------------------------------------------------------------------------------- schedule

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
