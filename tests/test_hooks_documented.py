"""Every hook has a first-party implementation, a test, and a paragraph in docs/hooks.md that runs."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

import click
import pluggy
import pytest

import spectranet
from spectranet import hookspecs
from spectranet.config import Config

ROOT = Path(__file__).parents[1]
FIRST_PARTY = (
    "spectranet.builtin",
    "spectranet_audio.plugin",
    "spectranet_objectives.plugin",
    "spectranet_text.plugin",
    "spectranet_vision.plugin",
)
HOOKS = sorted(name for name, value in vars(hookspecs).items() if hasattr(value, "spectranet_spec"))
PROVIDES = {
    "spectranet_modalities": spectranet.Modality,
    "spectranet_objectives": spectranet.Objective,
    "spectranet_tasks": spectranet.Task,
    "spectranet_readers": spectranet.Reader,
    "spectranet_presets": spectranet.Preset,
    "spectranet_check_config": str,
    "spectranet_commands": click.Command,
}

every_hook = pytest.mark.parametrize("hook", HOOKS)


def sections() -> dict[str, str]:
    """Heading -> text of docs/hooks.md."""
    parts = re.split(r"^## `?(\w+)`?$", (ROOT / "docs" / "hooks.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def python_block(section: str) -> str:
    found = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, "one example a hook"
    return str(found[0])


def implementations(module: ModuleType) -> set[str]:
    """Hooks implemented by a module's functions, or by the methods of its classes."""
    holders = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
    members = [item for holder in holders for item in vars(holder).items()]
    return {name for name, value in members if hasattr(value, "spectranet_impl")}


def test_there_are_hooks_to_check() -> None:
    assert "spectranet_modalities" in HOOKS and len(HOOKS) >= 9


@every_hook
def test_has_a_first_party_implementation(hook: str) -> None:
    modules = [importlib.import_module(name) for name in FIRST_PARTY]

    assert any(hook in implementations(module) for module in modules)


@every_hook
def test_is_mentioned_by_a_test(hook: str) -> None:
    files = [*(ROOT / "packages").glob("*/tests/**/*.py"), *(ROOT / "tests").rglob("*.py")]
    others = [path for path in files if path != Path(__file__)]

    assert any(re.search(rf"\b{hook}\b", path.read_text()) for path in others)


@every_hook
def test_has_a_paragraph(hook: str) -> None:
    section = sections().get(hook, "")
    prose = re.sub(r"```.*?```", "", section, flags=re.DOTALL).split()

    assert len(prose) >= 20, f"docs/hooks.md says too little of {hook}"


def test_documents_no_hook_that_does_not_exist() -> None:
    assert sorted(sections()) == HOOKS


@every_hook
def test_its_documented_example_runs(hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)  # dataclasses look their module up
    exec(compile(python_block(sections()[hook]), f"docs/hooks.md ({hook})", "exec"), vars(example))
    assert implementations(example) == {hook}
    host = pluggy.PluginManager("spectranet")
    host.add_hookspecs(hookspecs)
    host.register(example)
    host.check_pending()
    everything = {
        "config": Config(run_dir=str(tmp_path)),
        "training": True,
        "record": {"step": 10, "loss": 0.5},
        "run_dir": str(tmp_path),
        "path": str(tmp_path / "step-10"),
        "step": 10,
    }
    wanted = inspect.signature(getattr(hookspecs, hook)).parameters

    (answer,) = getattr(host.hook, hook)(**{name: everything[name] for name in wanted}) or [None]

    if hook in PROVIDES:
        provided = list(answer)
        assert provided and all(isinstance(each, PROVIDES[hook]) for each in provided)
    else:
        assert answer is None and list(tmp_path.iterdir()), "its effect can be seen on disk"
