"""Planning: figures of devices, arithmetic, growth with the micro-batch, and what a plan says."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
import toy_run
from click.testing import CliRunner

from spectranet.cli.root import root
from spectranet.config.schema import Config, SourceConfig
from spectranet.errors import ConfigError
from spectranet.model.build import Parts
from spectranet.plan.advice import advice
from spectranet.plan.estimate import MARGIN, STATE_BYTES, Assumed, Estimate, Weights, estimate
from spectranet.plan.gpus import GPUS, find_gpu, gpu_hours
from spectranet.plan.growth import Growth, grow
from spectranet.plan.meter import Meter
from spectranet.plan.plan import Plan, best_of
from spectranet.plan.settings import Setting, arrangements_to_try, micro_batches_to_try, step_mix
from spectranet.plan.simulate import Cost, Phase, Rehearsal, rehearse
from spectranet.plan.terminal import as_text

GIB = 2**30
H100 = find_gpu("h100-80gb")


def test_gpu_hours_are_devices_times_hours() -> None:
    assert gpu_hours(64, 4 * 7 * 24 * 3600) == 43_008


def test_an_unknown_gpu_is_met_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown GPU 'h100'. Did you mean 'h100-80gb'\?"):
        find_gpu("h100")
    with pytest.raises(ConfigError, match="known: h100-80gb, h200, a100-80gb, cpu"):
        find_gpu("abacus")


def test_links_beyond_a_server_are_the_network() -> None:
    assert H100.link(8) == H100.node_bandwidth
    assert H100.link(16) == 8 * H100.network_bandwidth  # all cards of a server work for its rings
    assert find_gpu("a100-80gb").link(16) < find_gpu("a100-80gb").node_bandwidth
    for shard in (8, 16):
        assert H100.link_between_copies(32, shard) == H100.network_bandwidth
    assert H100.link_between_copies(16, 4) == 2 * H100.network_bandwidth  # two copies in each server
    assert H100.link_between_copies(16, 1) == H100.link(16)  # one ring through everything


def test_the_meter_follows_storages_as_they_come_and_go_and_change_size() -> None:
    with Meter() as meter:
        kept = torch.ones(1000)
        assert meter.alive == 4000
        view, other = kept.view(10, 100), torch.ones(500)
        assert meter.alive == 6000
        other.untyped_storage().resize_(0)
        assert meter.alive == 4000
        other.untyped_storage().resize_(2000)
        del other
        assert (meter.alive, meter.peak) == (4000, 6000)
        product = view @ view.T
    assert meter.flops == 2 * 10 * 100 * 10
    assert meter.alive == 4000 + product.nbytes


# ------------------------------------------------------------------------------------- rehearsals


def toy_config(**train: object) -> tuple[Config, Parts]:
    """The toy model on one source. Tokens are hidden for an objective of this name, and so asked for."""
    config, parts = toy_run.toy_config(**train)
    config.objectives["mmm"] = config.objectives.pop("masked")
    parts.objectives["mmm"] = parts.objectives.pop("masked")
    config.data.sources = {"pairs": SourceConfig(modalities=["left", "right"])}
    return config, parts


@pytest.fixture(scope="module")
def toy_costs() -> dict[str, dict[int, Cost]]:
    """Checkpointing -> size -> cost, of the toy model on eight ranks; its modality says no largest sample."""
    config, parts = toy_config()
    found = {}
    for checkpointing in ("none", "selective", "full"):
        with rehearse(Setting(1, checkpointing).apply(config), parts, 8) as rehearsal:
            found[checkpointing] = {size: rehearsal.cost("pairs", size) for size in (1, 8, 64)}
            found[f"{checkpointing} again"] = {64: rehearsal.cost("pairs", 64)}
    return found


def test_a_rehearsal_leaves_nothing_behind(toy_costs) -> None:
    assert toy_costs["none again"][64] == toy_costs["none"][64]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_what_lies_between_two_sizes_is_never_underestimated(toy_costs, checkpointing) -> None:
    """The toy's loss over the global batch is made plainly, so its memory grows with the square."""
    costs = toy_costs[checkpointing]
    between = Growth(1, costs[1], 64, costs[64]).at(8)
    assert costs[8].peak_bytes <= between.peak_bytes
    for name in ("embed", "train"):
        assert between.phases[name].flops == pytest.approx(costs[8].phases[name].flops, rel=0.01), name


def test_a_compiled_run_is_planned_as_it_is_uncompiled(toy_costs) -> None:
    config, parts = toy_config(compile=True)
    with rehearse(config, parts, 8) as rehearsal:
        cost = rehearsal.cost("pairs", 1)
    assert cost == toy_costs["none"][1]


def test_checkpointing_buys_memory_for_arithmetic(toy_costs) -> None:
    none, selective, full = (toy_costs[each][64] for each in ("none", "selective", "full"))
    assert full.phases["train"].flops > 1.05 * selective.phases["train"].flops
    assert selective.phases["train"].flops > 1.02 * none.phases["train"].flops
    assert full.phases["embed"].flops == none.phases["embed"].flops
    # At 64 the loss over the global batch is the peak.
    peaks = [toy_costs[each][8].peak_bytes for each in ("none", "selective", "full")]
    assert peaks == sorted(peaks, reverse=True) and len(set(peaks)) == 3


@pytest.mark.parametrize("checkpointing", ["none", "selective"])
def test_the_leanest_setting_tells_what_others_need_without_samples(toy_costs, checkpointing) -> None:
    """At small sizes: the toy's loss over the global batch grows with their square."""
    measured = {"pairs": {8: toy_costs[checkpointing][8]}}
    leanest = {"pairs": {size: toy_costs["full"][size] for size in (1, 8)}}
    small, real = grow(measured, leanest)["pairs"].at(1), toy_costs[checkpointing][1]
    assert small.peak_bytes == pytest.approx(real.peak_bytes, rel=0.03)
    assert small.phases["train"].collectives == real.phases["train"].collectives
    assert small.phases["train"].flops == pytest.approx(real.phases["train"].flops, rel=0.02)


ARRANGED = {"keep": ("keep", None), "two copies": ("reshard", 4), "two copies, kept": ("keep", 4)}


@pytest.fixture(scope="module")
def arranged() -> dict[str, tuple[Estimate, Cost, Rehearsal]]:
    """Arrangement -> what was worked out from one sharded copy, and what a rehearsal of itself says."""
    config, parts = toy_config(global_batch=64, slots=1)
    with rehearse(config, parts, 8) as base:
        cost = base.cost("pairs", 8)
    always = base.gathered["root"]
    weights = Weights(sum(base.parameters.values()), sum(base.gathered.values()) - always, always)
    found = {}
    for name, (gather, shard) in ARRANGED.items():
        setting = Setting(8, "none", gather, shard)
        mix, grown = {("pairs", 8): 1}, {"pairs": Growth(8, cost, 8, cost)}
        one = estimate(config, setting, mix, grown, H100, 8, weights, Assumed())
        with rehearse(setting.apply(config), parts, 8) as rehearsal:
            found[name] = (one, rehearsal.cost("pairs", 8), rehearsal)
    return found


@pytest.mark.parametrize("name", ARRANGED)
def test_memory_of_other_arrangements_is_worked_out_and_never_too_low(arranged, name) -> None:
    one, cost, _ = arranged[name]
    assert 0.98 * cost.peak_bytes <= one.peak_bytes <= 1.25 * cost.peak_bytes


@pytest.mark.parametrize("name", ARRANGED)
def test_traffic_of_other_arrangements_is_worked_out(arranged, name) -> None:
    """A rehearsal counts whole tensors; an estimate what one rank receives of them."""
    one, cost, _ = arranged[name]
    moved = Counter()
    for phase in cost.phases.values():
        moved.update(phase.collectives)
    ranks = one.setting.shard_ranks or 8
    for collective in ("all-gather", "reduce-scatter"):
        expected = moved[collective] * (ranks - 1) / ranks
        assert one.traffic[collective] == pytest.approx(expected, rel=0.1), collective
    if ranks < 8:  # twice, there and back, over two copies
        assert one.traffic["all-reduce of copies"] == pytest.approx(moved["all-reduce"], rel=0.1)


def test_a_copy_on_fewer_ranks_costs_each_more_state(arranged) -> None:
    rehearsal = arranged["two copies"][2]
    each = STATE_BYTES * sum(rehearsal.parameters.values()) / 4
    assert rehearsal.state_bytes == pytest.approx(each, rel=0.03)


def test_ranks_are_cut_into_copies_in_every_way_and_a_whole_copy_has_nothing_to_gather() -> None:
    assert arrangements_to_try(1) == [("reshard", None)]
    assert arrangements_to_try(4) == [
        ("reshard", 1),
        *[(gather, shard) for shard in (2, None) for gather in ("reshard", "keep")],
    ]


def test_what_travels_between_ranks_is_counted(toy_costs) -> None:
    """fp32: every parameter is gathered twice in a micro-batch and its gradient reduced once."""
    config, parts = toy_config()
    with rehearse(config, parts, 8) as rehearsal:
        whole = 4 * sum(rehearsal.parameters.values())
    moved = toy_costs["none"][8].phases["train"].collectives
    assert whole <= moved["reduce-scatter"] < 1.3 * whole
    assert whole < moved["all-gather"] < 2.3 * whole


# ------------------------------------------------------------------------------------- what is dealt


def sourced(**train: object) -> Config:
    config = Config()
    config.data.sources = {
        "many": SourceConfig(modalities=["left"], weight=3),
        "few": SourceConfig(modalities=["right"], weight=1),
    }
    config.train = replace(config.train, global_batch=64, slots=8, **train)
    return config


def test_a_step_has_the_micro_batches_that_the_schedule_deals() -> None:
    assert step_mix(sourced(), ranks=4, micro_batch=2) == {("many", 2): 6, ("few", 2): 2}
    assert step_mix(sourced(), ranks=4, micro_batch=8) == {("many", 8): 1, ("many", 4): 1, ("few", 4): 1}


def test_sizes_to_try_reach_from_one_sample_to_all_of_a_source_in_a_step() -> None:
    assert micro_batches_to_try(sourced(), ranks=4) == [1, 2, 4, 8, 12]
    assert micro_batches_to_try(sourced(micro_batch=6), ranks=4) == [1, 2, 4, 6, 8, 12]


def test_ranks_that_do_not_divide_a_slot_are_refused_with_a_size_that_works() -> None:
    with pytest.raises(ConfigError, match=r"3 ranks do not divide .* train.global_batch=72"):
        micro_batches_to_try(sourced(), ranks=3)


# ------------------------------------------------------------------------------------- estimates


def growth(peak_gib: float, per_sample_gib: float) -> Growth:
    """A micro-batch that computes 1 TFLOP a sample and reduces 10 GB whatever its size."""

    def cost(size: int) -> Cost:
        train = Phase(0, size * 10**12, {"reduce-scatter": 10**10})
        once = Phase(0, 0, {"all-reduce": 8})
        return Cost(round((peak_gib + size * per_sample_gib) * GIB), 0, {"train": train, "global": once})

    return Growth(1, cost(1), 64, cost(64))


def planned(peak_gib: float, per_sample_gib: float = 1.0, gpus: int = 4) -> Plan:
    """A plan of made-up costs: one source of 64 samples a step."""
    config = sourced(steps=3600, precision="bf16")
    del config.data.sources["few"]
    mixes = {size: step_mix(config, gpus, size) for size in micro_batches_to_try(config, gpus)}
    grown = {"many": growth(peak_gib, per_sample_gib)}
    estimates = tuple(
        estimate(config, Setting(size), mix, grown, H100, gpus, Weights(10**9, 2 * 10**9, 0), Assumed())
        for size, mix in mixes.items()
    )
    fitting = [one for one in estimates if one.needs() <= H100.memory_bytes]
    best = min(fitting, key=lambda one: one.step_s, default=None)
    return Plan(
        config, H100, gpus, Assumed(), {"decoder": 10**9}, 50 * GIB, 64 * 10**12, mixes, estimates, best
    )


def test_time_is_that_of_the_slower_of_arithmetic_and_links() -> None:
    plan = planned(20)
    one, all_at_once = plan.estimates[0], plan.estimates[-1]
    assert one.flops == all_at_once.flops == 16 * 10**12
    assert one.traffic["reduce-scatter"] == 16 * all_at_once.traffic["reduce-scatter"]
    link_s = 10**10 * 3 / 4 / (450e9 * 0.8)
    compute_s = 10**12 / (989e12 * 0.45)
    assert one.link_s == pytest.approx(16 * link_s, rel=1e-3)
    assert one.compute_s == pytest.approx(16 * compute_s)
    assert one.step_s == pytest.approx(16 * link_s, rel=0.05)
    assert all_at_once.step_s == pytest.approx(max(16 * compute_s, link_s), rel=0.1)
    assert plan.best is all_at_once
    assert plan.gpu_hours == pytest.approx(4 * plan.best.step_s)


def test_what_fits_fits_with_the_margin() -> None:
    needs = planned(0).estimates[0].peak_bytes * (1 + MARGIN) / GIB
    assert needs == pytest.approx(1.25)
    plan = planned(50)
    assert [plan.fits(one) for one in plan.estimates] == [True, True, True, True, False]
    assert plan.best is not None and plan.best.setting.micro_batch == 8


def test_kept_graphs_of_all_micro_batches_are_alive_at_once() -> None:
    config = sourced(keep_encoded=True)
    del config.data.sources["few"]
    cost = Cost(10 * GIB, 2 * GIB, {"train": Phase()})
    mix = step_mix(config, 4, 4)
    grown = {"many": Growth(4, cost, 4, cost)}
    one = estimate(config, Setting(4), mix, grown, H100, 4, Weights(1, 1, 0), Assumed())
    assert mix == {("many", 4): 4}
    assert one.peak_bytes == (10 + 3 * 2) * GIB


# ------------------------------------------------------------------------------------- what is said


def test_links_inside_a_server_are_for_copies_that_fit_into_one() -> None:
    """Sixteen devices in two servers: a copy in each lives on NVLink, and the network reduces it once."""
    config = sourced()
    del config.data.sources["few"]
    cost = Cost(GIB, 0, {"train": Phase(0, 1, {"reduce-scatter": 10**10})})
    grown = {"many": Growth(1, cost, 1, cost)}

    def links(shard: int | None) -> Estimate:
        setting = Setting(1, "none", "reshard", shard)
        return estimate(
            config, setting, {("many", 1): 4}, grown, H100, 16, Weights(10**9, 10**9, 0), Assumed()
        )

    inside = 4 * 10**10 * 7 / 8 / (450e9 * 0.8)
    network = 2 * (4 * 10**9 / 8) * 1 / 2 / (50e9 * 0.8)
    assert links(8).link_s == pytest.approx(inside + network, rel=1e-3)
    assert links(None).link_s == pytest.approx(4 * 10**10 * 15 / 16 / (400e9 * 0.8), rel=1e-3)


def test_the_best_is_what_is_configured_if_nothing_is_notably_faster() -> None:
    plan = planned(0)
    near = [
        replace(plan.estimates[0], step_s=seconds, peak_bytes=size) for seconds, size in ((1, 9), (1.01, 5))
    ]
    near.append(replace(plan.estimates[1], step_s=1.015, peak_bytes=7))
    assert best_of(near, H100) is near[1]
    assert best_of(near, H100, configured=near[2].setting) is near[2]
    assert best_of([replace(near[0], peak_bytes=80 * GIB)], H100) is None


def test_a_plan_reads_in_80_columns_and_ends_in_a_line_to_copy() -> None:
    plan = replace(planned(50), configured=Setting(2))
    text = as_text(plan)
    assert max(map(len, text.splitlines())) <= 80
    assert "best: train.micro_batch=8 train.activation_checkpointing=none \\\n" in text
    assert "      train.gather=reshard train.shard_ranks=null\n" in text
    assert "settings: 4 of 5 fit" in text
    rows = [line for line in text.splitlines() if " reshard " in line]
    assert [row[0] for row in rows] == ["*", "="]
    assert [row.split()[1] for row in rows] == ["8", "2"]
    assert "64 GPUs for four weeks are 43,008 GPU-hours" in " ".join(text.split())


def test_a_slow_plan_of_a_large_model_keeps_its_columns() -> None:
    plan = planned(50)
    slow = [
        replace(one, step_s=12_345.6, compute_s=12_345.6, link_s=1234.5, flops=10**19)
        for one in plan.estimates
    ]
    text = as_text(replace(plan, estimates=tuple(slow), best=slow[3], model_flops=4 * 10**19))
    assert max(map(len, text.splitlines())) <= 80
    assert "40 EFLOP" in text and "10 EFLOP" in text
    assert " 12346 " in text and "e+" not in text


def test_where_nothing_fits_it_says_what_would() -> None:
    plan = planned(80)
    text = as_text(plan)
    assert "nothing fits h100-80gb (79 GiB). What would:" in text
    assert "best:" not in text
    assert all("!" in line for line in text.splitlines() if " reshard " in line)
    assert "! does not fit: h100-80gb has 79 GiB" in text
    told = advice(plan)
    # (81 - 50 of state) + 50 * 4 / 8 = 56 GiB, times 1.25
    assert told[0].startswith("more of them: 8 x h100-80gb")
    assert told[1] == "a larger device: --gpu h200"
    assert "besides 50.0 GiB of state, a micro-batch of 1 takes 31.0 GiB" in told[2]


def test_activations_alone_can_be_too_large_for_any_number_of_devices() -> None:
    told = advice(planned(200))
    assert len(told) == 1 and told[0].startswith("smaller samples or a smaller model")


def test_help_names_every_gpu() -> None:
    help_text = CliRunner().invoke(root, ["plan", "--help"]).output
    assert all(name in help_text for name in GPUS)


def test_help_and_a_misspelt_gpu_import_no_torch() -> None:
    for words in (["--help"], ["--gpu", "h100"]):
        code = (
            "import sys; from spectranet.cli.root import root\n"
            f"try: root.main(['plan', *{words}], standalone_mode=False)\n"
            "except ValueError as error: print(error)\n"
            "assert 'torch' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout
