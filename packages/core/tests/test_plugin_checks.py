"""A plugin that cannot be imported, or is not what the core asked for, is told by name, line and cause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from throwaway import DECLARATIONS, Shelf, shelf_in

from spectranet.errors import PluginError
from spectranet.plugins import PluginHost


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    with shelf_in(tmp_path, monkeypatch) as made:
        yield made


def refusal(*names: str) -> str:
    with pytest.raises(PluginError) as caught:
        PluginHost.load(names)
    return str(caught.value)


def test_failed_import_names_the_line_inside_the_plugin(shelf: Shelf) -> None:
    shelf.put("audio", "# a comment\n\nimport no_such_module\n", version="0.2.0")

    assert refusal("audio") == (
        "plugin 'audio' (spectranet-audio 0.2.0) failed to import:\n"
        "  ModuleNotFoundError: No module named 'no_such_module'\n"
        "  at spectranet_audio/plugin.py:3\n"
        "  full traceback: SPECTRANET_DEBUG=1; or drop 'audio' from --plugins"
    )


@pytest.mark.parametrize(
    ("source", "reason", "place"),
    [
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", "spectranet_bad/plugin.py:2"),
        ("x = 1\ndef f(:\n", "SyntaxError: invalid syntax (plugin.py, line 2)", "spectranet_bad/plugin.py:2"),
        ("class E(BaseException): ...\n\n\nraise E\n", "E", "spectranet_bad/plugin.py:4"),
        ("import json\njson.loads('{')\n", "JSONDecodeError: Expecting", "spectranet_bad/plugin.py:2"),
    ],
)
def test_whatever_an_import_raises_is_told(shelf: Shelf, source: str, reason: str, place: str) -> None:
    shelf.put("bad", source)

    _, second, third, _ = refusal("bad").splitlines()
    assert second.startswith(f"  {reason}")
    assert third == f"  at {place}"


def test_the_innermost_line_of_the_plugin_is_named_not_that_of_a_library(shelf: Shelf) -> None:
    shelf.put("bad", "from spectranet_bad.inner import f\n\nf()\n")
    (shelf.folder / "spectranet_bad" / "inner.py").write_text("import json\ndef f():\n    json.loads('{')\n")

    assert "  at spectranet_bad/inner.py:3\n" in refusal("bad")


def test_an_entry_point_to_nowhere(shelf: Shelf) -> None:
    shelf.put("bad", "")
    (shelf.folder / "spectranet_bad" / "plugin.py").unlink()

    assert refusal("bad").splitlines()[1:3] == [
        "  ModuleNotFoundError: No module named 'spectranet_bad.plugin'",
        "  at entry point bad = spectranet_bad.plugin",
    ]


def test_ctrl_c_during_an_import_is_not_swallowed(shelf: Shelf) -> None:
    shelf.put("slow", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        PluginHost.load(["slow"])


def test_misspelt_hook(shelf: Shelf) -> None:
    shelf.put("lidar", DECLARATIONS.rstrip() + "\n@hookimpl\ndef spectranet_modalites():\n    return []\n")
    line = DECLARATIONS.rstrip().count("\n") + 2

    first, second = refusal("lidar").splitlines()
    assert first == (
        "plugin 'lidar' (spectranet-lidar 0.1.0) implements an unknown hook 'spectranet_modalites'. "
        "Did you mean 'spectranet_modalities'?"
    )
    assert second == f"  at spectranet_lidar/plugin.py:{line}"


def test_a_hook_that_is_like_none_is_answered_with_all_there_are(shelf: Shelf) -> None:
    shelf.put("lidar", DECLARATIONS + "@hookimpl\ndef qqq():\n    return []\n")

    first, _, *hooks = refusal("lidar").splitlines()
    assert first.endswith("implements an unknown hook 'qqq'.")
    assert hooks[0].startswith("  hooks: spectranet_check_config, ") and max(map(len, hooks)) <= 100


def test_hook_with_an_argument_that_it_does_not_have(shelf: Shelf) -> None:
    shelf.put("lidar", DECLARATIONS + "@hookimpl\ndef spectranet_log(recrod):\n    pass\n")

    first, _, last = refusal("lidar").splitlines()
    assert first == (
        "plugin 'lidar' (spectranet-lidar 0.1.0) asks for an argument 'recrod' that spectranet_log does not "
        "have. Did you mean 'record'?"
    )
    assert last == "  arguments: record, run_dir"


def test_two_names_of_one_module(shelf: Shelf) -> None:
    shelf.modality("one", module="plug_same")
    shelf.modality("two", module="plug_same")

    assert refusal("one", "two") == (
        "plugins 'one' and 'two' (spectranet-one 0.1.0) are one module, plug_same.\n"
        "  keep one of them in --plugins."
    )


def test_the_name_of_the_core_is_taken(shelf: Shelf) -> None:
    shelf.modality("core", "x", distribution="acme-core")

    assert refusal("core") == (
        "plugin 'core' (acme-core 0.1.0) has a name that belongs to the core itself; "
        "its author has to choose another."
    )


def test_an_object_that_cannot_be_read(shelf: Shelf) -> None:
    shelf.put(
        "lidar",
        "class Plugin:\n    @property\n    def ready(self):\n        raise RuntimeError('no')\n\n"
        "plugin = Plugin()\n",
        module="plug_lidar:plugin",
    )

    assert refusal("lidar").splitlines()[:3] == [
        "plugin 'lidar' (spectranet-lidar 0.1.0) cannot be registered:",
        "  RuntimeError: no",
        "  at plug_lidar.py:4",
    ]


def test_no_hook_at_all(shelf: Shelf) -> None:
    shelf.put("lidar", "x = 1\n")

    first, second, *hooks = refusal("lidar").splitlines()
    assert first == "plugin 'lidar' (spectranet-lidar 0.1.0) implements no hook."
    assert second == "  spectranet_lidar.plugin needs at least one function marked @spectranet.hookimpl"
    assert "spectranet_modalities" in " ".join(hooks)


def test_forgotten_mark(shelf: Shelf) -> None:
    shelf.put("lidar", "def spectranet_modalities():\n    return []\n")

    assert refusal("lidar").splitlines() == [
        "plugin 'lidar' (spectranet-lidar 0.1.0) has a function 'spectranet_modalities' "
        "that is not marked as a hook.",
        "  at spectranet_lidar/plugin.py:1",
        "  put @spectranet.hookimpl above it",
    ]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("5", "returned int 5 from spectranet_modalities, which wants a list of Modality."),
        ("['x']", "returned str 'x' from spectranet_modalities, which wants Modality."),
        ("[modality('x', config=dict)]", "the options dict of Modality 'x': dict is not a dataclass."),
        ("[modality('x', config=Bare)]", "the options Bare of Modality 'x': Bare has no default for size."),
        ("1 / 0", "failed in its hook spectranet_modalities:\n  ZeroDivisionError: division by zero"),
        (
            "(1 / n for n in [0])",
            "failed in its hook spectranet_modalities:\n  ZeroDivisionError: division by zero\n"
            "  at spectranet_lidar/plugin.py:",
        ),
        ("map(lambda n: 1 / n, [0])", "failed in its hook spectranet_modalities:\n  ZeroDivisionError:"),
    ],
)
def test_what_a_hook_returns_is_checked(shelf: Shelf, returned: str, words: str) -> None:
    bare = "@dataclass\nclass Bare:\n    size: int\n\n"
    hook = f"@hookimpl\ndef spectranet_modalities():\n    return {returned}\n"
    shelf.put("lidar", DECLARATIONS + bare + hook)

    assert words in refusal("lidar")


def test_an_objective_must_have_a_weight(shelf: Shelf) -> None:
    hook = "@hookimpl\ndef spectranet_objectives():\n    return [objective('match', Options)]\n"
    shelf.put("lidar", DECLARATIONS + hook)

    assert "Options has no 'weight: float', the factor of its losses" in refusal("lidar")
