"""Every mistake with plugins, with distributions that are really installed: what is told, by whom, and when.

Each is told word by word, with exit code 2, before torch is imported (there is none in that environment) and
before anything is written; of two ranks one tells it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from crowd import CROWD, HOOK_LINE
from installed import Environment, run_ranks

import spectranet
from spectranet.train.stopping import ending

AUDIO_MISSING = "  install it:  python -m pip install spectranet-audio"
LAST = "  full traceback: SPECTRANET_DEBUG=1; or drop '{}' from --plugins"
HOOKS = [
    "  hooks: spectranet_check_config, spectranet_checkpoint_saved, spectranet_commands, spectranet_log,",
    "    spectranet_modalities, spectranet_objectives, spectranet_presets, spectranet_readers,",
    "    spectranet_tasks",
]


def import_fails(name: str, error: str, place: str) -> list[str]:
    version = next(ware.version for ware in CROWD if ware.distribution == f"spectranet-{name}")
    return [
        f"error: plugin '{name}' (spectranet-{name} {version}) failed to import:",
        f"  {error}",
        f"  at {place}",
        LAST.format(name),
    ]


def hook_fails(name: str, hook: str, error: str) -> list[str]:
    return [
        f"error: plugin '{name}' (spectranet-{name} 0.1.0) failed in its hook {hook}:",
        f"  {error}",
        f"  at spectranet_{name}/plugin.py:{HOOK_LINE + 2}",
        LAST.format(name),
    ]


def returns(name: str, what: str, hook: str, wanted: str) -> list[str]:
    return [
        f"error: plugin '{name}' (spectranet-{name} 0.1.0) returned {what} from {hook}, "
        f"which wants {wanted}.",
        f"  at spectranet_{name}/plugin.py:{HOOK_LINE}",
    ]


TOLD: dict[str, list[str]] = {
    "audio": ["error: plugin 'audio' is not installed.", AUDIO_MISSING],
    "audio,crash": ["error: plugin 'audio' is not installed.", AUDIO_MISSING],
    "radar": [
        "error: plugin 'radar' is offered by two distributions:",
        "  acme-radar 2.0.0        (acme_radar)",
        "  spectranet-radar 0.2.0  (spectranet_radar.plugin)",
        "  uninstall all but one of them:  python -m pip uninstall acme-radar",
    ],
    "thermal,flir": [
        "error: modality 'thermal' is claimed by two plugins:",
        "  thermal  spectranet-thermal 0.3.0  (spectranet_thermal.plugin)",
        "  flir     acme-flir 1.1.0           (acme_flir.spectranet)",
        "  keep one of them in --plugins.",
    ],
    "lidar": [
        "error: plugin 'lidar' (spectranet-lidar 0.4.1) targets plugin API v2; "
        f"spectranet-core {spectranet.__version__} provides v1.",
        "  look for a newer one:  python -m pip install --upgrade spectranet-core",
    ],
    "crash": import_fails(
        "crash", "ModuleNotFoundError: No module named 'no_such_module'", "spectranet_crash/plugin.py:3"
    ),
    "exit0": import_fails("exit0", "SystemExit: 0", "spectranet_exit0/plugin.py:3"),
    "exittext": import_fails(
        "exittext", "SystemExit: this plugin wants a licence", "spectranet_exittext/plugin.py:3"
    ),
    "cancel": import_fails("cancel", "Cancelled: by the plugin", "spectranet_cancel/plugin.py:4"),
    "generator": import_fails("generator", "GeneratorExit", "spectranet_generator/plugin.py:2"),
    "syntax": import_fails(
        "syntax", "SyntaxError: invalid syntax (plugin.py, line 2)", "spectranet_syntax/plugin.py:2"
    ),
    "nowhere": import_fails(
        "nowhere",
        "ModuleNotFoundError: No module named 'spectranet_nowhere'",
        "entry point nowhere = spectranet_nowhere.plugin",
    ),
    "noname": import_fails(
        "noname",
        "AttributeError: module 'spectranet_noname' has no attribute 'plugin'",
        "entry point noname = spectranet_noname:plugin",
    ),
    "misspelt": [
        "error: plugin 'misspelt' (spectranet-misspelt 0.1.0) implements an unknown hook "
        "'spectranet_modalites'. Did you mean 'spectranet_modalities'?",
        f"  at spectranet_misspelt/plugin.py:{HOOK_LINE}",
    ],
    "nohook": [
        "error: plugin 'nohook' (spectranet-nohook 0.1.0) implements no hook.",
        "  spectranet_nohook.plugin needs at least one function marked @spectranet.hookimpl",
        *HOOKS,
    ],
    "nodata": [
        "error: plugin 'nodata' (spectranet-nodata 0.1.0): the options dict of Modality 'nodata': "
        "dict is not a dataclass."
    ],
    "raises": hook_fails("raises", "spectranet_objectives", "ZeroDivisionError: division by zero"),
    "yields": hook_fails("yields", "spectranet_objectives", "ZeroDivisionError: division by zero"),
    "checker": hook_fails(
        "checker",
        "spectranet_check_config",
        "AttributeError: 'Config' object has no attribute 'no_such_option'",
    ),
    "nonsense": returns("nonsense", "int 5", "spectranet_readers", "a list of Reader"),
    "words": returns("words", "str 'too large'", "spectranet_check_config", "a list of str"),
    "numbers": returns("numbers", "int 5", "spectranet_check_config", "str"),
    "visoin": [
        "error: unknown plugin 'visoin' (from --plugins). Did you mean 'vision'?",
        "  installed: buttons, cancel, chatty, checker, crash, die, exit0, exittext, flir, generator, lidar,",
        "    misspelt, nodata, nohook, noname, nonsense, nowhere, numbers, objectives, order, radar, raises,",
        "    sonar, syntax, text, thermal, torchy, vision, words, yields",
    ],
}
"""``--plugins`` -> what is told. Beside those named here, text is loaded."""

ON_TWO_RANKS = (
    *("visoin", "audio", "radar", "lidar", "crash", "exit0", "misspelt", "nohook", "thermal,flir"),
    "checker",  # told last of all, when the configuration is whole
)


def test_every_broken_plugin_is_here() -> None:
    offered = {name for ware in CROWD for _, name, _ in ware.offers}
    named = {name for names in TOLD for name in names.split(",")}
    fine, elsewhere = {"sonar"}, {"die", "buttons"}
    assert offered - named == fine | elsewhere


@pytest.mark.parametrize("plugins", TOLD)
def test_a_mistake_is_told_once_with_the_next_command_and_nothing_is_begun(
    crowd: Environment, training: Callable[..., list[str]], tmp_path: Path, plugins: str
) -> None:
    note = tmp_path / "imported"

    ended = crowd.run(*training(f"{plugins},text"), IMPORTED=str(note))

    assert (ended.returncode, ended.stdout, ended.stderr.splitlines()) == (2, "", TOLD[plugins])
    assert sorted(path.name for path in tmp_path.iterdir() if path != note) == ["text.jsonl"]
    imported = set(note.read_text().split()) if note.exists() else set()
    modules = {at.partition(":")[0] for ware in CROWD for _, name, at in ware.offers if name in plugins}
    assert imported <= modules, "no other plugin is imported"


@pytest.mark.parametrize("plugins", ON_TWO_RANKS)
def test_of_two_ranks_one_tells_it_in_the_same_words(
    crowd: Environment, training: Callable[..., list[str]], tmp_path: Path, plugins: str
) -> None:
    first, second = run_ranks([crowd, crowd], *training(f"{plugins},text"))

    assert (first.returncode, first.stdout, first.stderr.splitlines()) == (2, "", TOLD[plugins])
    assert second.stdout + second.stderr == ""
    # Ended by the launcher, while it waited or, on a busy machine, while it was still loading.
    assert second.returncode in (-signal.SIGTERM, ending.RESUME_ME), (
        "whoever speaks must be the first to fail"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["text.jsonl"]


def test_the_full_traceback_is_one_variable_away(
    crowd: Environment, training: Callable[..., list[str]]
) -> None:
    ended = crowd.run(*training("crash,text"), SPECTRANET_DEBUG="1")

    assert ended.returncode == 2
    assert "in import_plugin" in ended.stderr
    assert '/spectranet_crash/plugin.py", line 3, in <module>\n    import no_such_module\n' in ended.stderr
    assert ended.stderr.endswith("\n".join([*TOLD["crash"], ""]))


def test_the_two_that_are_told_elsewhere(crowd: Environment, training: Callable[..., list[str]]) -> None:
    """Commands matter to the command line alone; whoever leaves by os._exit takes the process along."""
    ended = crowd.run("config", "show", "--plugins", "buttons,text", "--config", "tiny")

    assert (ended.returncode, ended.stderr.startswith("not used, since")) == (0, True)
