"""A clause's failure says who, what is asked, what was found and where that is written, as the pages do."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from planted import Change, Field, field_in

from spectranet.errors import PluginError
from spectranet.testing import ConformanceError, ModalityConformance, ObjectiveConformance
from spectranet.testing.__main__ import main
from spectranet.testing.clause import asked, clause, clauses_of, require
from spectranet.testing.clause_pages import RENEW, clauses, markdown

pytest_plugins = ["pytester"]

DOCS = Path(__file__).parents[3] / "docs"


class Ducks:
    """What a conformance class needs to fail."""

    who = staticmethod(lambda: "duck of plugin 'pond'")
    raised: Any = None

    @clause
    def test_ducks_float(self) -> None:
        """A ``duck`` floats, :func:`~pond.always`.

        It is put on water.
        """
        require(self.raised is None, "it sank by 3.2 m;\nallowed is 0.1 m")

    @clause
    def test_ducks_quack(self) -> None:
        """It quacks."""
        if self.raised is not None:
            raise self.raised


def said(raised: BaseException) -> ConformanceError:
    ducks = Ducks()
    ducks.raised = raised
    with pytest.raises(ConformanceError) as caught:
        ducks.test_ducks_quack()
    return caught.value


def test_a_breach_is_told_in_four_parts() -> None:
    ducks = Ducks()
    ducks.raised = True

    with pytest.raises(ConformanceError) as caught:
        ducks.test_ducks_float()

    assert str(caught.value).splitlines() == [
        "duck of plugin 'pond'",
        "  breaks the clause 'ducks-float'.",
        "  the contract asks: A `duck` floats, `pond.always`.",
        "  found: it sank by 3.2 m;",
        "    allowed is 0.1 m",
        "  documented: python -m spectranet.testing ducks-float, or",
        "    docs/conformance.md#ducks-float",
    ]
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


@pytest.mark.parametrize("raised", [KeyError("depth"), SystemExit(3)])
def test_what_a_plugin_raises_breaks_the_clause_and_is_its_cause(raised: BaseException) -> None:
    error = said(raised)

    assert f"found: {type(raised).__name__}: {raised}" in str(error)
    assert error.__cause__ is raised


def test_the_host_s_refusal_is_told_without_its_advice_for_the_command_line() -> None:
    error = said(
        PluginError("plugin 'pond' failed to import:\n  at pond.py:3\n  full: SPECTRANET_DEBUG=1; or")
    )

    assert "found: plugin 'pond' failed to import:\n      at pond.py:3\n  documented" in str(error)
    assert error.__cause__ is None


def test_a_clause_that_holds_returns_nothing_and_interrupts_pass() -> None:
    Ducks().test_ducks_float()

    ducks = Ducks()
    ducks.raised = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ducks.test_ducks_quack()


def test_clauses_are_found_in_the_order_in_which_they_are_written() -> None:
    assert list(clauses_of(Ducks)) == ["ducks-float", "ducks-quack"]


# ------------------------------------------------------------------------------------------- pages


def ask(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_all_clauses_are_listed_by_kind_a_line_each() -> None:
    listed = ask()

    assert listed.exit_code == 0
    lines = [line.split() for line in listed.stdout.splitlines() if line]
    assert [line[0] for line in lines if line[0][0].isupper()] == ["Every", "Modalities:", "Objectives:"]
    names = [name for some in clauses().values() for name in some]
    assert [line[0] for line in lines if not line[0][0].isupper()] == names
    assert set(names) == {*clauses_of(ModalityConformance), *clauses_of(ObjectiveConformance)}


def test_a_clause_s_page_has_the_whole_docstring() -> None:
    page = ask("import-is-light", "one-entry-point").stdout

    whole = clauses_of(ModalityConformance)["import-is-light"]
    words = re.findall(r"\w+", whole)
    assert page.startswith("import-is-light (every plugin)\n")
    assert re.findall(r"\w+", page)[5 : 5 + len(words)] == words
    assert "one-entry-point (every plugin)" in page


def test_an_unknown_clause_gets_a_near_miss_and_exit_code_2() -> None:
    answer = ask("import-is-lite")

    assert answer.exit_code == 2
    assert answer.stderr.startswith(
        "error: no clause is called 'import-is-lite'. Did you mean 'import-is-light'?"
    )


def test_names_are_anchors_and_every_clause_says_what_is_asked() -> None:
    everything = [item for some in clauses().values() for item in some.items()]
    names = [name for name, _ in everything]

    assert sorted(set(names)) == sorted(names)
    assert [name for name, text in everything if not asked(text).endswith((".", "!"))] == []


def test_every_clause_says_how_it_is_checked_or_mended() -> None:
    everything = [item for some in clauses().values() for item in some.items()]

    assert [name for name, text in everything if not text.partition("\n\n")[2].strip()] == []


def test_the_kit_s_pages_need_no_pytest() -> None:
    program = (
        "import sys; sys.modules.update(pytest=None, packaging=None); import spectranet.testing.__main__ as m"
    )

    subprocess.run([sys.executable, "-c", f"{program}; m.main(['no-other-plugin'])"], check=True)


def test_the_page_of_all_clauses_is_up_to_date() -> None:
    page = DOCS / "conformance.md"

    assert page.read_text() == markdown(), f"renew it:  {RENEW}"


# ------------------------------------------------------------------------------ docs/authors/testing.md

TESTING = (DOCS / "authors" / "testing.md").read_text()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with field_in(tmp_path_factory.mktemp("field")) as made:
        yield made


def test_attributes_named_for_authors_exist() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (both|modalities|objectives) \|", TESTING, re.MULTILINE)
    owners = {
        "both": (ModalityConformance, ObjectiveConformance),
        "modalities": (ModalityConformance,),
        "objectives": (ObjectiveConformance,),
    }
    named = [
        (name, cls) for names, of in rows for name in re.findall(r"`(\w+)`", names) for cls in owners[of]
    ]
    known = {
        cls: {name for base in cls.__mro__ for name in inspect.get_annotations(base)}
        for cls in (ModalityConformance, ObjectiveConformance)
    }

    assert len(named) > 10
    assert [name for name, cls in named if name not in known[cls]] == []


def test_the_failure_shown_to_authors_is_what_pytest_prints(
    field: Field, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run in this process, so that torch is there already."""
    field.plant(
        "beats",
        "lidar",
        Change("plugin.py", 'name="beats"', 'name="lidar"'),
        Change(
            "encoder.py",
            "pooled_BD = summed_BD / valid_BV.sum(1, keepdim=True).clamp_min(1)",
            "pooled_BD = x_BVD.mean(1)",
        ),
    )
    monkeypatch.setenv("COLUMNS", "80")
    pytester.makepyfile(
        "from spectranet.testing import ModalityConformance\n"
        "class TestLidar(ModalityConformance):\n"
        "    plugin, name = 'lidar', 'lidar'\n"
    )

    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", "padding_is_inert or mates")

    outcome.assert_outcomes(failed=1, passed=1)
    (shown,) = re.findall(r"^```text\n(.*?)^```", TESTING, re.MULTILINE | re.DOTALL)
    # Figures may differ in the last digit between builds of torch.
    assert re.sub(r"\d\.\de", "#.#e", shown) in re.sub(r"\d\.\de", "#.#e", outcome.stdout.str())
    failure = outcome.stdout.str().partition("= FAILURES =")[2].partition("All traceback")[0]
    assert max(len(line) for line in failure.splitlines()[1:]) <= 80
