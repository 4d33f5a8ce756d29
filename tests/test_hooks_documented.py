"""Every hook has a first-party implementation, a test, and a paragraph in docs/hooks.md that runs."""

from __future__ import annotations

import importlib
import inspect
import pickle
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


def run_example(hook: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that a hook's documented example makes."""
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)  # dataclasses and pickle look their module up
    exec(compile(python_block(sections()[hook]), f"docs/hooks.md ({hook})", "exec"), vars(example))
    return example


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
    example = run_example(hook, monkeypatch)
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


def test_the_documented_reader_opens_reads_pickles_and_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (reader,) = run_example("spectranet_readers", monkeypatch).spectranet_readers()
    path = tmp_path / "cats.lines"
    path.write_text("a cat\nno picture\n")
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.jpg").write_bytes(b"pixels")

    assert reader.matches(str(path))
    samples = pickle.loads(pickle.dumps(reader.open(str(path), spectranet.OpenOptions())))

    assert isinstance(samples, spectranet.SampleSet) and len(samples) == 2
    assert samples.read(0, ["txt", "jpg"]) == spectranet.RawSample(
        "cats.lines:1", {"txt": b"a cat", "jpg": b"pixels"}
    )
    with pytest.raises(spectranet.DataError, match=r"cats/2\.jpg' cannot be read: No such file"):
        samples.read(1, ["jpg"])
    with pytest.raises(spectranet.DataError, match=r"gone\.lines' cannot be read"):
        reader.open(str(tmp_path / "gone.lines"), spectranet.OpenOptions())
    with pytest.raises(spectranet.DataError, match="no columns for 'where'"):
        reader.open(str(path), spectranet.OpenOptions(where={"split": "test"}))


def test_the_objectives_paragraph_says_how_one_is_loaded_and_switched_on() -> None:
    section = sections()["spectranet_objectives"]

    for words in ("--plugins", "objective_plugins", "'objectives.order={}'", "objectives.order=null"):
        assert words in section
