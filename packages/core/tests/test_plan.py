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
from spectranet.plan.advice import advice
from spectranet.plan.estimate import MARGIN, Assumed, estimate
from spectranet.plan.gpus import GPUS, find_gpu, gpu_hours
from spectranet.plan.growth import Growth
from spectranet.plan.meter import Meter
from spectranet.plan.plan import Plan
from spectranet.plan.settings import Setting, micro_batches_to_try, step_mix
from spectranet.plan.simulate import Cost, Phase, rehearse
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
    assert H100.link(16) == H100.network_bandwidth


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


@pytest.fixture(scope="module")
def toy_costs() -> dict[str, dict[int, Cost]]:
    """Checkpointing -> size -> cost, of the toy model on eight ranks; its modality says no largest sample."""
    config, parts = toy_run.toy_config()
    config.data.sources = {"pairs": SourceConfig(modalities=["left", "right"])}
    found = {}
    for checkpointing in ("none", "full"):
        with rehearse(Setting(1, checkpointing).apply(config), parts, 8) as rehearsal:
            found[checkpointing] = {size: rehearsal.cost("pairs", size) for size in (1, 8, 64)}
            found[f"{checkpointing} again"] = {64: rehearsal.cost("pairs", 64)}
    return found


def test_a_rehearsal_leaves_nothing_behind(toy_costs) -> None:
    assert toy_costs["none again"][64] == toy_costs["none"][64]
    assert not torch.distributed.is_initialized()


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_what_lies_between_two_sizes_is_never_underestimated(toy_costs, checkpointing) -> None:
    """The toy's loss over the global batch is made plainly, so its memory grows with the square."""
    costs = toy_costs[checkpointing]
    between = Growth(1, costs[1], 64, costs[64]).at(8)
    assert costs[8].peak_bytes <= between.peak_bytes
    for name in ("embed", "train"):
        assert between.phases[name].flops == pytest.approx(costs[8].phases[name].flops, rel=0.01), name


def test_a_compiled_run_is_planned_as_it_is_uncompiled(toy_costs) -> None:
    config, parts = toy_run.toy_config(compile=True)
    config.data.sources = {"pairs": SourceConfig(modalities=["left", "right"])}
    with rehearse(config, parts, 8) as rehearsal:
        cost = rehearsal.cost("pairs", 1)
    assert cost == toy_costs["none"][1]


def test_checkpointing_costs_arithmetic(toy_costs) -> None:
    none, full = toy_costs["none"][64], toy_costs["full"][64]
    assert full.phases["train"].flops > 1.05 * none.phases["train"].flops
    assert full.phases["embed"].flops == none.phases["embed"].flops


def test_what_travels_between_ranks_is_counted(toy_costs) -> None:
    """fp32: every parameter is gathered twice in a micro-batch and its gradient reduced once."""
    config, parts = toy_run.toy_config()
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
        estimate(config, Setting(size, "none"), mix, grown, H100, gpus, 10**9, Assumed())
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
    one = estimate(config, Setting(4, "none"), mix, {"many": Growth(4, cost, 4, cost)}, H100, 4, 1, Assumed())
    assert mix == {("many", 4): 4}
    assert one.peak_bytes == (10 + 3 * 2) * GIB


# ------------------------------------------------------------------------------------- what is said


def test_a_plan_reads_in_80_columns_and_ends_in_a_line_to_copy() -> None:
    text = as_text(planned(50))
    assert max(map(len, text.splitlines())) <= 80
    assert "best: train.micro_batch=8 train.activation_checkpointing=none\n" in text
    rows = [
        line
        for line in text.splitlines()
        if line[2:].lstrip().startswith(("1 ", "8 ", "16 ")) and "none" in line
    ]
    assert [row[0] for row in rows] == [" ", "*", " "]
    assert Counter("!" in row for row in rows) == {True: 1, False: 2}
    assert "! does not fit: h100-80gb has 79 GiB" in text
    assert "64 GPUs for four weeks are 43,008 GPU-hours" in " ".join(text.split())


def test_where_nothing_fits_it_says_what_would() -> None:
    plan = planned(80)
    text = as_text(plan)
    assert "nothing fits h100-80gb (79 GiB). What would:" in text
    assert "best:" not in text
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
