"""The kit finds what is wrong with a modality, each breach by the clause that is meant for it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from planted import Change, Field, field_in

from spectranet.testing import ConformanceError, ModalityConformance
from spectranet.testing.clause import clauses_of
from spectranet.testing.package.conformance import PackageConformance

OTHER_PROCESSES = {"transform-pickles", "two-ranks-equal-one"}
"""They start processes: tried where a plant is meant for them, and on the good plugin."""
CLAUSES = [
    clause
    for clause in clauses_of(ModalityConformance)
    if clause not in clauses_of(PackageConformance) and clause not in OTHER_PROCESSES
]


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with field_in(tmp_path_factory.mktemp("field")) as made:
        yield made


def case_of(plugin: str) -> ModalityConformance:
    """An instance of a test class as an author writes it; some examples are longer than ``longest``."""
    named = {"plugin": plugin, "name": "beats", "options": {"longest": 8}}
    case: ModalityConformance = type("Test", (ModalityConformance,), named)()
    return case


def failure(case: ModalityConformance, clause: str) -> str:
    """What the clause says, on one line; empty where it holds or does not concern this modality."""
    try:
        getattr(case, f"test_{clause.replace('-', '_')}")()
    except ConformanceError as error:
        return " ".join(str(error).split())
    except pytest.skip.Exception:
        return ""
    return ""


def broken_by(case: ModalityConformance, *also: str) -> dict[str, str]:
    said = {clause: failure(case, clause) for clause in [*CLAUSES, *also]}
    return {clause: text for clause, text in said.items() if text}


def test_a_good_modality_keeps_every_clause(field: Field) -> None:
    field.plant("beats", "good")

    assert broken_by(case_of("good"), "transform-pickles") == {}


# --------------------------------------------------------------------------------- one breach each


class Plant(NamedTuple):
    clause: str
    says: str
    """Part of what is found."""
    changes: tuple[Change, ...]


def in_encoder(*pairs: tuple[str, str]) -> tuple[Change, ...]:
    return tuple(Change("encoder.py", *pair) for pair in pairs)


def in_series(old: str, new: str) -> tuple[Change, ...]:
    return (Change("series.py", old, new),)


MASKED = "scores_BVV = scores_BVV.masked_fill(~valid_BV[:, None, :], torch.finfo(scores_BVV.dtype).min)"
BLOCKS = "self.blocks = nn.ModuleList(Block(width) for _ in range(layers))"
RUN_BLOCKS = "        for block in self.blocks:\n            x_BVD"
POOLED = "pooled_BD = summed_BD / valid_BV.sum(1, keepdim=True).clamp_min(1)"
INIT = "init_linear(self, std=0.1)"

PLANTS = {
    "padding leaks into attention": Plant(
        "padding-is-inert", "tokens differ by", in_encoder((MASKED, "pass  # all may be looked at"))
    ),
    "normalised over the batch": Plant(
        "batch-mates-are-independent",
        "differs by",
        in_encoder(
            (RUN_BLOCKS, f"        x_BVD = x_BVD - 0.5 * x_BVD[valid_BV].mean(0)\n{RUN_BLOCKS}"),
        ),
    ),
    "a layer that nobody calls": Plant(
        "every-parameter-learns",
        "no gradient at encoder.spare.weight, encoder.spare.bias",
        in_encoder((BLOCKS, f"{BLOCKS}\n        self.spare = nn.Linear(width, width)")),
    ),
    "a buffer that only the constructor computes": Plant(
        "init-fills-everything",
        "encoder: not filled, or not finite: ramp",
        in_encoder(
            (BLOCKS, f'{BLOCKS}\n        self.register_buffer("ramp", torch.arange(3.0), persistent=False)'),
            (POOLED, f"{POOLED} + 0 * self.ramp.sum()"),
        ),
    ),
    "weights that are scaled, not set": Plant(
        "init-fills-everything",
        "made of what was there: scale",
        in_encoder(
            (BLOCKS, f'{BLOCKS}\n        self.register_buffer("scale", torch.ones(width), persistent=False)'),
            (INIT, f"{INIT}\n        self.scale.nan_to_num_(0.0).mul_(0.5)"),
        ),
    ),
    "a buffer made outside of the meta device": Plant(
        "meta-build-takes-no-storage",
        "encoder has storage for ramp",
        in_encoder(
            (BLOCKS, f'{BLOCKS}\n        self.register_buffer("ramp", torch.ones(3, device="cpu"))'),
            (INIT, f"{INIT}\n        nn.init.ones_(self.ramp)"),
        ),
    ),
    "weights from numpy's generator": Plant(
        "init-is-seeded",
        "the same seed gives other values of embed.bias",
        in_encoder(
            (INIT, f"{INIT}\n        import numpy\n        self.embed.bias.fill_(numpy.random.rand())"),
        ),
    ),
    "what init draws is in no state dict": Plant(
        "state-dict-round-trips",
        "after loading",
        in_encoder(
            (INIT, f"{INIT}\n        self.shift_D = torch.randn(self.width)"),
            (POOLED, f"{POOLED} + self.shift_D.to(dtype)"),
        ),
    ),
    "hidden tokens are pooled too": Plant(
        "hidden-tokens-are-invisible",
        "visible ones change by",
        in_encoder((POOLED, f'{POOLED} + batch.data["patches"].sum((1, 2))[:, None].to(dtype)')),
    ),
    "width is not that of the tokens": Plant(
        "shapes-and-types",
        "with width 32 it should be",
        in_encoder(
            ("self.width = width", "self.width = 2 * width"),
            ("sincos_position(position_BVP, self.width)", "sincos_position(position_BVP, x_D)"),
            ("        dtype = self", "        x_D = self.embed.out_features\n        dtype = self"),
        ),
    ),
    "a codebook of the head's that is in no state dict": Plant(
        "state-dict-round-trips",
        "the head's loss is",
        in_encoder(
            (
                "self.out = nn.Linear(width, FEATURES)",
                "self.out = nn.Linear(width, FEATURES)\n"
                '        self.register_buffer("codes", torch.empty(FEATURES), persistent=False)',
            ),
            (
                "        init_linear(self)\n",
                "        init_linear(self)\n        nn.init.normal_(self.codes)\n",
            ),
            ("(error_BHF - target_BHF)", "(error_BHF - target_BHF * self.codes)"),
        ),
    ),
    "padding in the mean of what is summed large": Plant(
        "padding-is-inert",
        "tokens differ by",
        in_encoder(
            (POOLED, "pooled_BD = 1e-5 * summed_BD / valid_BV.shape[1]"),
            ("return Encoded(x_BVD", "return Encoded(1e3 * x_BVD"),
        ),
    ),
    "a generator that is seeded in the forward": Plant(
        "forward-draws-nothing",
        "a forward changes the global generator of torch",
        in_encoder((POOLED, f"{POOLED}\n        torch.manual_seed(0)")),
    ),
    "centred in place": Plant(
        "forward-draws-nothing",
        "a forward writes to data['patches'] of its batch",
        in_encoder(
            (
                "        visible_BVF =",
                '        batch.data["patches"].clamp_(-1, 1)\n        visible_BVF =',
            ),
        ),
    ),
    "a buffer that all samples share": Plant(
        "training-transform-is-seeded",
        "they share memory",
        in_series(
            "whole_TC = np.zeros((len(token_N) * STEPS, CHANNELS), dtype=np.float32)",
            "whole_TC = SHARED[: len(token_N) * STEPS]\n        whole_TC[:] = 0",
        )
        + in_series(
            "TOKENS_PER_SEGMENT = 4\n", "TOKENS_PER_SEGMENT = 4\nSHARED = np.zeros((99, 3), np.float32)\n"
        ),
    ),
    "ids without ids": Plant(
        "ids-fit-the-vocabulary",
        "data has patches, but no ids",
        (
            Change(
                "plugin.py",
                "    temporal=True,",
                "    temporal=True,\n    vocab_size=lambda config: 9,",
            ),
        ),
    ),
    "inputs keep their own dtype": Plant(
        "bf16-is-close",
        "RuntimeError",
        in_encoder(("self.embed(visible_BVF.to(dtype))", "self.embed(visible_BVF)")),
    ),
    "half of the projections are not counted": Plant(
        "flops-are-declared", "are declared", in_encoder(("layer = 8 * width", "layer = 4 * width"))
    ),
    "padding counts in the loss": Plant(
        "target-loss-is-sum-and-weight",
        "hidden tokens",
        in_encoder(("batch.hidden_valid_BH.sum())", "float(batch.hidden_valid_BH.numel()))")),
    ),
    "evaluation crops at random": Plant(
        "evaluation-transform-is-fixed",
        "two seeds",
        in_series("if self.train and surplus > 0", "if surplus > 0"),
    ),
    "numpy's error for damaged bytes": Plant(
        "corrupt-bytes-are-refused",
        "no bytes raised ValueError: is no series",
        in_series('raise DecodeError("is no series', 'raise ValueError("is no series'),
    ),
    "one token too many is hidden": Plant(
        "mask-hides-its-share",
        "hides",
        in_series("round(ratio * len(hidden_N))]", "2 + round(ratio * len(hidden_N))]"),
    ),
}


@pytest.mark.parametrize("what", PLANTS)
def test_a_breach_is_found_by_its_clause_alone(field: Field, what: str) -> None:
    clause, says, changes = PLANTS[what]
    plugin = "".join(filter(str.isalpha, what.title()))
    field.plant("beats", plugin, *changes)

    broken = broken_by(case_of(plugin))

    assert list(broken) == [clause], broken
    assert f"breaks the clause '{clause}'" in broken[clause]
    assert says in broken[clause]


@pytest.mark.parametrize(
    ("plugin", "says", "change"),
    [
        (
            "closure",
            "training transform does not pickle",
            (
                "return BeatsTransform(config.longest, train)",
                "made = BeatsTransform(config.longest, train)\n    return lambda raw, rng: made(raw, rng)",
            ),
        ),
        (
            "salted",
            "the fingerprint is",
            (
                'return int("".join(str(int(bit)) for bit in bits), 2)',
                "return hash(series_TC.tobytes()) % 2**64",
            ),
        ),
    ],
)
def test_what_differs_between_processes_is_found(
    field: Field, plugin: str, says: str, change: tuple[str, str]
) -> None:
    field.plant("beats", plugin, *in_series(*change))

    broken = broken_by(case_of(plugin), "transform-pickles")

    assert list(broken) == ["transform-pickles"]
    assert says in broken["transform-pickles"]


# ------------------------------------------------------------------------ what takes more than a glance


FLAT = (
    Change("series.py", "torch.from_numpy(patches_BNF)}", "torch.from_numpy(patches_BNF).flatten(1)}"),
    Change(
        "encoder.py",
        'visible_BVF = gather_tokens(batch.data["patches"], batch',
        'all_BNF = batch.data["patches"].unflatten(1, (-1, FEATURES))\n'
        "        visible_BVF = gather_tokens(all_BNF, batch",
    ),
)
"""Data without an axis of tokens, as pixels and waveforms are."""
CODED = (
    Change("series.py", "(patches_BNF)}", "(patches_BNF).flatten(1).mul(50).long()}"),
    Change("encoder.py", FLAT[1].old, FLAT[1].new.replace(".unflatten", ".bitwise_xor(1).unflatten")),
)
"""Integers, which no gradient reaches."""
LEAK = Change("encoder.py", POOLED, f"{POOLED} + all_BNF.sum((1, 2))[:, None].to(dtype) / 100")


@pytest.mark.parametrize("data", [FLAT, CODED], ids=["by gradient", "by trial"])
def test_hidden_content_is_found_where_no_axis_of_the_data_is_tokens(
    field: Field, data: tuple[Change, ...]
) -> None:
    name = "flat" if data is FLAT else "coded"
    field.plant("beats", name, *data)
    field.plant("beats", f"{name}_leak", *data, LEAK)

    assert failure(case_of(name), "hidden-tokens-are-invisible") == ""
    assert "visible ones change by" in failure(case_of(f"{name}_leak"), "hidden-tokens-are-invisible")


def test_a_disturbance_that_changes_nothing_proves_nothing(field: Field) -> None:
    field.plant("beats", "calm")
    case = case_of("calm")
    case.disturb_hidden = lambda batch: batch  # type: ignore[method-assign]

    assert "override disturb_hidden" in failure(case, "hidden-tokens-are-invisible")


def test_an_lstm_s_products_are_counted_and_a_single_token_asks_for_no_masks(field: Field) -> None:
    """What a decent modality may be like, and what would be hard on it."""
    lstm = (
        (BLOCKS, f"{BLOCKS}\n        self.lstm = nn.LSTM(width, width, batch_first=True)"),
        (RUN_BLOCKS, f"        x_BVD = x_BVD + self.lstm(x_BVD)[0]\n{RUN_BLOCKS}"),
        ("config.layers * layer)", "config.layers * layer + 8 * width * width)"),
    )
    field.plant("beats", "remembering", *in_encoder(*lstm))
    mask = "[: round(ratio * len(hidden_N))]"
    field.plant(
        "beats",
        "single_token",
        *in_series("steps = int(rng.integers(5, 24))", "steps = 2"),
        *in_series(mask, "[: 0]"),
    )

    assert failure(case_of("remembering"), "flops-are-declared") == ""
    assert broken_by(case_of("single_token")) == {}


def test_a_decoder_that_hangs_is_named_by_what_it_was_given(field: Field) -> None:
    slow = "    if len(data) == 1000:\n        __import__('time').sleep(2)\n"
    field.plant("beats", "hanging", *in_series("    body = data[8:]\n", f"{slow}    body = data[8:]\n"))
    case = case_of("hanging")
    type(case).decode_within_s = 0.5

    said = failure(case, "corrupt-bytes-are-refused")

    assert "1000 random bytes is not done after 0.5 s" in said


@pytest.mark.slow
def test_two_ranks_of_a_good_modality_equal_one_and_weights_by_rank_do_not(field: Field) -> None:
    field.plant("beats", "sharded")
    by_rank = f"{INIT}\n        import os\n        self.embed.bias += float(os.environ.get('RANK', 0))"
    field.plant("beats", "byrank", *in_encoder((INIT, by_rank)))

    assert failure(case_of("sharded"), "two-ranks-equal-one") == ""
    assert "of 2: tokens differ" in failure(case_of("byrank"), "two-ranks-equal-one")
