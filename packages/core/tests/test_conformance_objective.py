"""The kit finds what is wrong with an objective, each fault by the clause that is meant for it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from planted import Change, Field, field_in

from spectranet.testing import ConformanceError, ObjectiveConformance
from spectranet.testing.clause import clauses_of
from spectranet.testing.package.conformance import PackageConformance

ON_RANKS = "loss-is-the-same-on-two-ranks"
CLAUSES = clauses_of(ObjectiveConformance).keys() - clauses_of(PackageConformance).keys()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with field_in(tmp_path_factory.mktemp("field")) as made:
        yield made


def failure(plugin: str, name: str, clause: str, **attributes: object) -> str:
    """What the clause says; empty where it holds or does not concern this objective."""
    case = type("Test", (ObjectiveConformance,), {"plugin": plugin, "name": name, **attributes})()
    try:
        getattr(case, f"test_{clause.replace('-', '_')}")()
    except ConformanceError as error:
        return str(error)
    except pytest.skip.Exception:
        return ""
    return ""


def broken_by(plugin: str, name: str) -> dict[str, str]:
    said = {clause: failure(plugin, name, clause) for clause in sorted(CLAUSES - {ON_RANKS})}
    return {clause: text for clause, text in said.items() if text}


@pytest.mark.parametrize("name", ["recall", "match"])
def test_a_good_objective_keeps_every_clause(field: Field, name: str) -> None:
    field.plant("recall", f"keeping_{name}")

    assert broken_by(f"keeping_{name}", name) == {}


def test_a_module_may_be_called_like_a_method_of_the_other_kind(field: Field) -> None:
    field.plant(
        "recall", "criterion", *in_match("self.scale =", "self.loss = nn.Identity()\n        self.scale =")
    )

    assert failure("criterion", "match", "methods-of-its-kind") == ""


class Plant(NamedTuple):
    clause: str
    says: str
    """Part of what is found."""
    changes: tuple[Change, ...]
    name: str = "recall"


BUILD = "def build(config: Any, context: BuildContext) -> Recall:"


def in_recall(old: str, new: str) -> tuple[Change, ...]:
    return (Change("recall.py", old, new),)


def in_match(old: str, new: str) -> tuple[Change, ...]:
    return (Change("match.py", old, new),)


def with_loss(*lines: str) -> tuple[Change, ...]:
    """What becomes of the loss of one modality: ``head``, ``states`` and ``one`` are at hand."""
    body = "".join(f"    {line}\n" for line in lines)
    function = f"def faulty(head: Any, states: Tensor, one: ModalityBatch) -> Loss:\n{body}\n\n{BUILD}"
    return (
        Change(
            "recall.py", "self.heads[name](states_BHD, one)\n", "faulty(self.heads[name], states_BHD, one)\n"
        ),
        Change("recall.py", BUILD, function),
    )


ERROR = (
    "valid = one.hidden_valid_BH",
    "states = states.masked_fill(~valid.unsqueeze(-1), 0)",
    "target = gather_tokens(one.data['x'], one.hidden_BH).to(states.dtype)",
)
FULL = "torch.promote_types(states.dtype, torch.float32)"

PLANTS = {
    "a parameter that is never set": Plant(
        "init-weights-fills-everything",
        "or drawn without the seed: offset",
        in_recall(
            "self.names = names\n", "self.names = names\n        self.offset = nn.Parameter(torch.empty(4))\n"
        ),
    ),
    "terms in the order of a set": Plant(
        "terms-are-fixed",
        "not sorted",
        in_recall('f"recall.{name}" for name in names)', 'f"recall.{name}" for name in names[::-1])'),
    ),
    "a method that nobody calls": Plant(
        "methods-of-its-kind",
        "weights would never be called",
        in_match(
            "    def embed(self",
            "    def weights(self, batch: Batch) -> dict:\n        return {}\n\n    def embed(self",
        ),
        "match",
    ),
    "the coefficient is multiplied in as well": Plant(
        "coefficient-is-an-option",
        "at weight 3",
        (
            *in_match(
                "self.scale = config.scale\n", "self.scale, self.factor = config.scale, config.weight\n"
            ),
            *in_match("return Loss(total,", "return Loss(self.factor * total,"),
        ),
        "match",
    ),
    "an unknown modality is passed over": Plant(
        "missing-modality-is-named",
        "nothing is said",
        in_recall(
            "    if missing:\n",
            "    config.modalities = sorted(set(config.modalities) - set(missing))\n    if False:\n",
        ),
    ),
    "another weight than announced": Plant(
        "weight-is-announced",
        "weights() announces recall.audio",
        in_recall('": float(one.hidden_valid_BH.sum())', '": 2 * float(one.hidden_valid_BH.sum())'),
    ),
    "a sum in bf16": Plant(
        "loss-accumulates-in-fp32",
        "bf16",
        with_loss(
            *ERROR,
            "error = (head.predict(states) - target).square().mean(-1).masked_fill(~valid, 0)",
            f"return Loss(error.sum().to({FULL}), float(valid.sum()))",
        ),
    ),
    "a gradient that is cut off": Plant(
        "loss-passes-gradcheck", "at parameter", with_loss("return head(states.detach(), one)")
    ),
    "a logarithm of what underflows": Plant(
        "extreme-inputs-stay-finite",
        "inputs 10,000 times as large",
        with_loss(
            *ERROR,
            f"chances = torch.sigmoid(head.predict(states).to({FULL}))",
            "return Loss(-chances.log().mean(-1).masked_fill(~valid, 0).sum(), float(valid.sum()))",
        ),
    ),
    "padded places that count": Plant(
        "padded-places-cost-nothing",
        "garbage at padded places",
        with_loss(
            "target = gather_tokens(one.data['x'], one.hidden_BH)",
            f"answer = head.predict(states).to({FULL})",
            "error = (answer - target).square().mean(-1)",
            "some = one.hidden_valid_BH.any(1, keepdim=True)",
            "return Loss(error.masked_fill(~some, 0).sum(), float(one.hidden_valid_BH.sum()))",
        ),
    ),
    "a mean for a sum": Plant(
        "micro-batches-add-up",
        "2 micro-batches instead of 1 the sum of 'recall.audio' is",
        with_loss("loss = head(states, one)", "return Loss(loss.sum / max(1.0, loss.weight), loss.weight)"),
    ),
    "a look at batch-mates": Plant(
        "micro-batches-add-up",
        "2 micro-batches instead of 1 the sum of 'recall.audio' is",
        with_loss(
            *ERROR,
            "centre = states.sum((0, 1)) / valid.sum().clamp_min(1)",
            "return head(states - 0.5 * centre, one)",
        ),
    ),
    "embeddings that depend on batch-mates": Plant(
        "micro-batches-add-up",
        "2 micro-batches instead of 1 the rows of 'audio'",
        in_match(
            "joint_BE = self.heads[name](one.pooled_BD)\n",
            "joint_BE = self.heads[name](one.pooled_BD - 0.5 * one.pooled_BD.mean(0))\n",
        ),
        "match",
    ),
    "rows taken as they come": Plant(
        "samples-in-any-order",
        "with the samples in another order",
        in_match("a.vectors_RE[[a_of[i] for i in both]]", "a.vectors_RE[: len(both)]"),
        "match",
    ),
    "nothing divided by nothing": Plant(
        "nothing-to-ask-costs-nothing",
        "nan",
        with_loss(
            "loss = head(states, one)", "return Loss(loss.sum / loss.weight * loss.weight, loss.weight)"
        ),
    ),
    "a metric that is no number": Plant(
        "loss-is-a-sum-and-a-weight",
        "metric 'states' of 'recall.audio' is no number",
        with_loss("loss = head(states, one)", "return Loss(loss.sum, loss.weight, {'states': states})"),
    ),
    "noise in fp32": Plant(
        "loss-draws-nothing",
        "when it is computed again",
        with_loss(
            "loss = head(states, one)",
            "noise = 4e-6 * torch.rand(()) if loss.sum.dtype is torch.float32 else 0",
            "return Loss(loss.sum * (1 + noise), loss.weight)",
        ),
    ),
    "a constant": Plant(
        "ten-steps-reduce-the-loss",
        "the loss before and after each step: 3.704, 3.704",
        with_loss(
            "loss = head(states, one)", "return Loss(0 * loss.sum + 1.2345 * loss.weight, loss.weight)"
        ),
    ),
    "parameters that are replaced": Plant(
        "after-step-keeps-the-parameters",
        "other parameters than before: asks.audio",
        in_recall(
            "    def asked(self",
            "    def after_step(self) -> None:\n        for name, ask_D in self.asks.items():\n"
            "            self.asks[name] = nn.Parameter(ask_D.clone())\n\n    def asked(self",
        ),
    ),
    "a head that costs nothing": Plant(
        "heads-flops-are-counted",
        "it declares 0, torch counts",
        in_match(
            "    def embed(self",
            "    def flops(self, batch: Batch) -> int:\n        return 0\n\n    def embed(self",
        ),
        "match",
    ),
    "an option for a modality that nobody reads": Plant(
        "missing-modality-is-named",
        "target_modality = 'nowhere' is accepted",
        (
            Change(
                "plugin.py",
                "    modalities: list[str]",
                '    target_modality: str | None = option(None, "asked for")\n    modalities: list[str]',
            ),
        ),
    ),
    "a memory that nobody has": Plant(
        "queries-are-well-formed",
        "it reads memory, which is no modality",
        in_recall("reads=tuple(batch.modalities)", "reads=('memory',)"),
    ),
    "a modality that every batch must have": Plant(
        "batch-without-a-modality-is-skipped",
        "KeyError",
        in_match(
            "present = [(a, b) for a, b in self.pairs if a in rows and b in rows]",
            "present = [(a, b) for a, b in self.pairs if rows and (rows[a], rows[b])]",
        ),
        "match",
    ),
}


@pytest.mark.parametrize("fault", PLANTS)
def test_each_fault_breaks_its_clause_alone(field: Field, fault: str) -> None:
    plant = PLANTS[fault]
    plugin = fault.replace(" ", "_").replace("-", "_").replace(",", "")
    field.plant("recall", plugin, *plant.changes)

    broken = broken_by(plugin, plant.name)

    assert list(broken) == [plant.clause], broken
    said = " ".join(broken[plant.clause].split())
    assert f"{plant.name} of plugin '{plugin}' breaks the clause '{plant.clause}'" in said
    assert plant.says in said


@pytest.mark.slow
def test_a_rank_that_counts_more_than_another_is_found_on_two_ranks(field: Field) -> None:
    fault = with_loss(
        "loss, group = head(states, one), torch.distributed",
        "rank = group.get_rank() if group.is_initialized() else 0",
        "return Loss(loss.sum * (1 + 0.1 * rank), loss.weight)",
    )
    field.plant("recall", "partial_to_ranks", *fault)

    said = failure("partial_to_ranks", "recall", ON_RANKS)

    assert f"breaks the clause '{ON_RANKS}'" in said.replace("\n", " ").replace("      ", "")
    assert "on one rank and" in said


def test_a_target_without_gradient_is_named(field: Field) -> None:
    """What a loss detaches on purpose is said; what is said wrongly is found."""
    field.plant(
        "recall",
        "detaching",
        Change(
            "recall.py",
            "self.heads[name](states_BHD, one)\n",
            "nearer(self.heads[name](states_BHD, one), encoded[name].pooled_BD)\n",
        ),
        Change(
            "recall.py",
            BUILD,
            "def nearer(loss: Loss, pooled_BD: Tensor) -> Loss:\n"
            "    return Loss(loss.sum * (2 + pooled_BD.detach().tanh().mean()), loss.weight)\n\n\n" + BUILD,
        ),
    )
    targets = tuple(f"pooled of {name}" for name in ("audio", "image", "text"))

    def said(*detached: str) -> str:
        return " ".join(failure("detaching", "recall", "loss-passes-gradcheck", detached=detached).split())

    assert "at pooled of" in said()
    assert said(*targets) == ""
    assert "named in `detached`, yet with a gradient: tokens of image" in said(*targets, "tokens of image")
