"""CI runs nox sessions and nothing besides, so that whoever has the repository can run the same."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TOOLS = ("python -m pip install nox uv", "gh release create ")
"""What else may be run: what brings nox, and what makes the page of a release."""


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def nox_sessions() -> tuple[set[str], list[str]]:
    """All sessions of the noxfile, and those that plain ``nox`` runs."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    every = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(each) for each in node.decorator_list)
    }
    (usual,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "nox.options.sessions"
    ]
    return every, usual


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_sessions_that_there_are(workflow: Path) -> None:
    every, _ = nox_sessions()
    for line in (step["run"].strip() for step in steps(workflow) if "run" in step):
        if line.startswith("nox --session "):
            name = line.split()[2]
            assert name in every or name == "${{", line
        else:
            assert line.startswith(TOOLS), line


def test_ci_runs_what_plain_nox_runs() -> None:
    _, usual = nox_sessions()
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())

    assert ci["jobs"]["nox"]["strategy"]["matrix"]["session"] == usual


def test_every_checkout_has_the_history_and_no_password_is_stored() -> None:
    for workflow in WORKFLOWS:
        checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout")]
        assert checkouts and all(step["with"]["fetch-depth"] == 0 for step in checkouts)
        assert "secrets." not in workflow.read_text()
