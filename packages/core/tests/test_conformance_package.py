"""The kit finds what is wrong with a package, each breach by the clause that is meant for it alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from planted import Change, Field, field_in

from spectranet.testing import ConformanceError, ModalityConformance, ObjectiveConformance
from spectranet.testing.clause import clauses_of
from spectranet.testing.package.conformance import PackageConformance

PACKAGE_CLAUSES = list(clauses_of(PackageConformance))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with field_in(tmp_path_factory.mktemp("field")) as made:
        yield made


def case_of(plugin: str, name: str = "beats") -> PackageConformance:
    """An instance of a test class as an author writes it."""
    base: type = ObjectiveConformance if name in ("recall", "match") else ModalityConformance
    case: PackageConformance = type("Test", (base,), {"plugin": plugin, "name": name})()
    return case


def failure(case: PackageConformance, clause: str) -> str:
    """What the clause says; empty where it holds."""
    try:
        getattr(case, f"test_{clause.replace('-', '_')}")()
    except ConformanceError as error:
        return str(error)
    return ""


def broken_by(case: PackageConformance) -> dict[str, str]:
    """Clause -> what it says, of those about the package that do not hold."""
    said = {clause: failure(case, clause) for clause in PACKAGE_CLAUSES}
    return {clause: text for clause, text in said.items() if text}


@pytest.mark.parametrize(("like", "name"), [("beats", "beats"), ("recall", "recall"), ("recall", "match")])
def test_a_good_package_keeps_every_clause(field: Field, like: str, name: str) -> None:
    plugin = f"good_{name}"
    field.plant(like, plugin)

    assert broken_by(case_of(plugin, name)) == {}


# --------------------------------------------------------------------------------- one breach each


class Plant(NamedTuple):
    clause: str
    says: str
    """Part of what is found."""
    changes: tuple[Change, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - of the distribution; read only


def in_plugin(old: str, new: str) -> tuple[Change, ...]:
    return (Change("plugin.py", old, new),)


def at_import(statement: str) -> tuple[Change, ...]:
    """The statement in line 9 of ``plugin.py``, below its imports."""
    return in_plugin("\n\n@dataclass", f"{statement}\n\n\n@dataclass")


def in_options(method: str) -> tuple[Change, ...]:
    return in_plugin("\n\nBEATS = ", f"\n    {method}\n\n\nBEATS = ")


WIDTH = 'width: int = option(16, "width of the encoder")'

PLANTS = {
    "uncapped": Plant(
        "core-requirement-capped",
        "requires 'spectranet-core>=0.1': no upper cap",
        options={"requires": "spectranet-core>=0.1"},
    ),
    "slow": Plant(
        "import-is-quick",
        "s to import spectranet_slow.plugin, 1.10 s of it asleep",
        at_import("import time; time.sleep(1.1)"),
    ),
    "heavy": Plant(
        "import-is-light",
        "loads timm (asked for at spectranet_heavy/plugin.py:9)",
        at_import("import timm"),
    ),
    "online": Plant(
        "import-is-offline",
        "requests 'http://127.0.0.1:9/weights' at spectranet_online/plugin.py:11",
        at_import(
            "import urllib.request\ntry:\n    urllib.request.urlopen('http://127.0.0.1:9/weights')\n"
            "except OSError:\n    pass"
        ),
    ),
    "meddling": Plant(
        "import-is-inert",
        "sets the environment variable 'TOKENIZERS_PARALLELISM' at spectranet_meddling/plugin.py:9",
        at_import("__import__('os').environ['TOKENIZERS_PARALLELISM'] = 'false'"),
    ),
    "dangling": Plant(
        "addresses-resolve",
        "spectranet_dangling.series has no 'fingerprints'. Did you mean 'fingerprint'?",
        in_plugin(':fingerprint")', ':fingerprints")'),
    ),
    "unhelpful": Plant(
        "options-are-documented",
        "'width' has no help",
        in_plugin(WIDTH, "width: int = 16"),
    ),
    "forgetful": Plant(
        "options-round-trip",
        "width: 32 came back as 64",
        in_options("def __post_init__(self):\n        self.width *= 2"),
    ),
    "lenient": Plant(
        "unknown-options-are-refused",
        "BeatsConfig(no_such_option=1) is taken without a word",
        in_options(
            "def __init__(self, width=16, layers=2, longest=12, **others):\n"
            "        self.width, self.layers, self.longest = width, layers, longest"
        ),
    ),
    "curious": Plant(
        "public-names-only",
        "spectranet_curious/plugin.py:35: spectranet.model.build.Parts",
        in_plugin(
            "    temporal=True,", '    temporal=True,\n    describe=lazy("spectranet.model.build:Parts"),'
        ),
    ),
    "clinging": Plant(
        "no-other-plugin",
        "spectranet_clinging/series.py:66: spectranet_vision.plugin",
        (
            Change(
                "series.py", "    import torch\n", "    import torch\n    import spectranet_vision.plugin\n"
            ),
        ),
    ),
}
"""Plugin -> the clause that it breaks, and how."""

NOT_LOADED = {
    "misgrouped": Plant(
        "one-entry-point",
        "there is one in the group 'spectranet.plugin.v1'",
        options={"entries": "[spectranet.plugin.v1]\n{name} = spectranet_{name}.plugin\n"},
    ),
    "misspelt": Plant(
        "hooks-are-known",
        "unknown hook 'spectranet_modality'. Did you mean 'spectranet_modalities'?",
        in_plugin("def spectranet_modalities", "def spectranet_modality"),
    ),
    "hookless": Plant(
        "hooks-are-known", "implements no hook", in_plugin("@hookimpl\ndef spectranet_", "def ")
    ),
    "crashing": Plant("hooks-are-known", "No module named 'nonsense'", at_import("import nonsense")),
    "renamed": Plant(
        "hooks-are-known",
        "brings no modality 'beats'. Did you mean 'beat'?",
        in_plugin('name="beats"', 'name="beat"'),
    ),
}
"""The host takes none of these, so that other clauses, which need the plugin, cannot hold either."""


@pytest.fixture
def with_timm(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    """A framework that is quick to import, so that it is caught by its name alone."""
    (field.folder / "timm.py").write_text("")
    # What plants do at import they do here too.
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")


@pytest.mark.usefixtures("with_timm")
@pytest.mark.parametrize("plugin", PLANTS)
def test_a_breach_is_caught_by_its_clause_and_no_other(field: Field, plugin: str) -> None:
    plant = PLANTS[plugin]
    field.plant("beats", plugin, *plant.changes, **plant.options)

    broken = broken_by(case_of(plugin))

    assert list(broken) == [plant.clause], broken
    said = broken[plant.clause]
    assert said.startswith(f"beats of plugin '{plugin}'\n  breaks the clause '{plant.clause}'.\n")
    assert plant.says in unwrapped(said)
    assert f"python -m spectranet.testing {plant.clause}" in unwrapped(said)
    assert f"docs/conformance.md#{plant.clause}" in unwrapped(said)


@pytest.mark.parametrize("plugin", NOT_LOADED)
def test_what_the_host_refuses_is_told_in_its_words(field: Field, plugin: str) -> None:
    plant = NOT_LOADED[plugin]
    field.plant("beats", plugin, *plant.changes, **plant.options)

    said = failure(case_of(plugin), plant.clause)

    assert plant.says in unwrapped(said)
    assert "SPECTRANET_DEBUG" not in said


def test_a_plugin_that_imports_torch_is_told_what_to_mend_first(field: Field) -> None:
    field.plant("beats", "early", *at_import("from torch import nn"))

    broken = broken_by(case_of("early"))

    assert {"import-is-light", "import-is-inert"} <= set(broken)
    assert "loads torch (asked for at spectranet_early/plugin.py:9)" in unwrapped(broken["import-is-light"])
    consequences = [text for clause, text in broken.items() if clause != "import-is-light"]
    assert all("may come with torch" in text and "'import-is-light' first" in text for text in consequences)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_every_package_clause_has_its_plant() -> None:
    planted = {plant.clause for plant in [*PLANTS.values(), *NOT_LOADED.values()]}

    assert planted == set(PACKAGE_CLAUSES)


def test_two_distributions_of_one_name_are_both_named(field: Field) -> None:
    field.plant("beats", "twin")
    field.plant("beats", "other", entries="[spectranet.plugins.v1]\ntwin = spectranet_other.plugin\n")

    said = failure(case_of("twin"), "one-entry-point")

    assert "2 entry points 'twin'" in said
    assert "spectranet-twin 0.1.0 (spectranet_twin.plugin)" in said
    assert "spectranet-other 0.1.0 (spectranet_other.plugin)" in said


# ------------------------------------------------------------------------------------ requirements


@pytest.mark.parametrize(
    ("requires", "flaw"),
    [
        (None, "does not require spectranet-core; it requires nothing"),
        ("numpy>=1.26", "does not require spectranet-core; it requires numpy"),
        ("spectranet-core", "no lower bound, no upper cap"),
        ("spectranet_core<1", "no lower bound"),
        ("spectranet-core!=0.3,>=0.1", "no upper cap"),
        ("spectranet-core>=0.1,<9", "admits spectranet-core 2.0"),
        ("spectranet-core>=0.9,<1", "which is installed, is left out"),
        ("spectranet-core[testing]>=0.1,<1; extra == 'test'", "does not require spectranet-core"),
        ("spectranet-core>=0.1,<1", ""),
        ("spectranet-core>=0.1,<2", ""),
        ("spectranet-core~=0.1", ""),
        ("spectranet-core[track]>=0.1,<1; python_version >= '3.11'", ""),
    ],
)
def test_requirements_on_the_core(field: Field, requires: str | None, flaw: str) -> None:
    plugin = f"wants_{abs(hash(requires))}"
    field.plant("beats", plugin, requires=requires)

    said = failure(case_of(plugin), "core-requirement-capped")

    assert flaw in unwrapped(said) if flaw else not said


# ----------------------------------------------------------------------------------- what it shows


def test_an_exception_of_the_plugin_shows_no_line_of_the_kit(field: Field) -> None:
    field.plant("beats", "raising", *at_import("raise OSError('no licence')"))

    with pytest.raises(ConformanceError) as caught:
        case_of("raising").test_hooks_are_known()

    cause = caught.value.__cause__
    assert isinstance(cause, OSError) and cause.__traceback__ is not None
    assert Path(cause.__traceback__.tb_frame.f_code.co_filename).parts[-2:] == (
        "spectranet_raising",
        "plugin.py",
    )


def test_lines_of_a_failure_fit_into_a_terminal(field: Field) -> None:
    plugin = "misspelt_and_with_a_rather_long_name"
    field.plant("beats", plugin, *in_plugin("def spectranet_modalities", "def spectranet_modality"))

    said = failure(case_of(plugin), "hooks-are-known")

    # pytest puts the error's name before the first line and four spaces before the others.
    assert [line for line in said.splitlines()[1:] if len(line) > 76] == []
