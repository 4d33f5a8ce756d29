"""Every way in which a plugin can be broken, each a distribution that is installed for real.

Each module notes its import in the file that ``$IMPORTED`` names, so that a test can tell what was imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from installed import build_wheel
from throwaway import DECLARATIONS

__all__ = ["CROWD", "GOOD", "HOOK_LINE", "ORDER", "Ware"]

NOTE = "import os; print(__name__, file=open(os.environ.get('IMPORTED', os.devnull), 'a'))\n"
"""The first line of every module."""

HOOK_LINE = (NOTE + DECLARATIONS).count("\n") + 2
"""Where the hook of a module begins, with its mark."""


@dataclass(frozen=True)
class Ware:
    """One distribution: what it offers, and under which names of which API majors."""

    distribution: str
    version: str
    sources: Mapping[str, str]
    """Dotted module -> what follows the note in it."""
    offers: tuple[tuple[int, str, str], ...]
    """(API major, name, target of the entry point)."""

    def wheel(self, folder: Path) -> Path:
        files: dict[str, str] = {}
        for module, source in self.sources.items():
            path = module.replace(".", "/")
            files[f"{path}.py"] = NOTE + source
            if "/" in path:
                files.setdefault(f"{path.partition('/')[0]}/__init__.py", "")
        points = ""
        for api in sorted({api for api, _, _ in self.offers}):
            lines = [f"{name} = {at}\n" for of, name, at in self.offers if of == api]
            points += "".join([f"[spectranet.plugins.v{api}]\n", *lines])
        return build_wheel(folder, self.distribution, self.version, files, points)


def ware(name: str, source: str, version: str = "0.1.0", distribution: str = "", module: str = "") -> Ware:
    """One plugin in one module of one distribution, for the API major of today."""
    module = module or f"spectranet_{name}.plugin"
    return Ware(distribution or f"spectranet-{name}", version, {module: source}, ((1, name, module),))


def hook(name: str, body: str, arguments: str = "") -> str:
    return DECLARATIONS + f"\n@hookimpl\ndef {name}({arguments}):\n    {body}\n"


def bringing(modality: str) -> str:
    return hook("spectranet_modalities", f"return [modality('{modality}')]")


def preset(name: str) -> str:
    return hook("spectranet_presets", f"return [Preset('{name}', 'a preset', '')]")


CROWD: tuple[Ware, ...] = (
    # Names that are not clear.
    ware("radar", bringing("radar"), "0.2.0"),
    ware("radar", bringing("radar"), "2.0.0", "acme-radar", "acme_radar"),
    ware("thermal", bringing("thermal"), "0.3.0"),
    ware("flir", bringing("thermal"), "1.1.0", "acme-flir", "acme_flir.spectranet"),
    # Another version of the contract.
    Ware(
        "spectranet-lidar",
        "0.4.1",
        {"spectranet_lidar.plugin": ""},
        ((2, "lidar", "spectranet_lidar.plugin"),),
    ),
    Ware(
        "spectranet-sonar",
        "0.5.0",
        {
            "spectranet_sonar.v1": bringing("sonar"),
            "spectranet_sonar.v2": "raise AssertionError('not for us')\n",
        },
        ((1, "sonar", "spectranet_sonar.v1"), (2, "sonar", "spectranet_sonar.v2")),
    ),
    # Imports that go wrong.
    ware("crash", "\nimport no_such_module\n", "0.2.0"),
    ware("exit0", "import sys\nsys.exit(0)\n"),
    ware("exittext", "import sys\nsys.exit('this plugin wants a licence\\nask for one')\n"),
    ware("cancel", "class Cancelled(KeyboardInterrupt): ...\n\nraise Cancelled('by the plugin')\n"),
    ware("generator", "raise GeneratorExit\n"),
    ware("syntax", "def f(:\n"),
    ware("die", "import os\nos._exit(0)\n"),
    Ware("spectranet-nowhere", "0.1.0", {}, ((1, "nowhere", "spectranet_nowhere.plugin"),)),
    Ware(
        "spectranet-noname",
        "0.1.0",
        {"spectranet_noname": "\n"},
        ((1, "noname", "spectranet_noname:plugin"),),
    ),
    # Hooks that are none, or do not do what they should.
    ware("misspelt", hook("spectranet_modalites", "return []")),
    ware("nohook", "x = 1\n"),
    ware("nodata", hook("spectranet_modalities", "return [modality('nodata', config=dict)]")),
    ware("raises", hook("spectranet_objectives", "return [1 / 0]")),
    ware("yields", hook("spectranet_objectives", "yield 1 / 0")),
    ware("nonsense", hook("spectranet_readers", "return 5")),
    ware("checker", hook("spectranet_check_config", "yield config.no_such_option", "config")),
    ware("words", hook("spectranet_check_config", "return 'too large'", "config")),
    ware("numbers", hook("spectranet_check_config", "return [5]", "config")),
    ware("buttons", hook("spectranet_commands", "return ['scan']")),
)
"""Broken, or not to be loaded together with another of them."""

ORDER = {
    version: ware("order", hook("spectranet_objectives", "return [objective('order')]"), version)
    for version in ("0.7.0", "0.8.0")
}
"""A plugin without a fault, in two versions."""

GOOD: tuple[Ware, ...] = (
    ORDER["0.7.0"],
    ware("chatty", "import warnings\nprint('hello')\nwarnings.warn('old thing')\n" + preset("chat")),
    ware("torchy", "import torch\n" + preset("torchy")),
)
"""These work, whatever their manners."""
