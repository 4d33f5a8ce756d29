"""The documents speak of files that exist and of configuration that loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from spectranet.config import Config, load_config

ROOT = Path(__file__).parents[1]
FOLDERS = ("*.md", "docs/**/*.md", "packages/*/*.md", "examples/*/*.md")
DOCUMENTS = sorted(path for folder in FOLDERS for path in ROOT.glob(folder))

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", document.read_text())
    local = [target for target in targets if "://" not in target]

    assert [target for target in local if not (document.parent / target).exists()] == []


@every_document
def test_files_named_in_passing_exist(document: Path) -> None:
    """A path in code type, with a folder in it, is read from the root of the repository."""
    named = re.findall(r"`((?:packages|tests|docs|demo|benchmarks|examples)/[\w./-]+)`", document.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


@every_document
def test_options_named_in_passing_exist(document: Path) -> None:
    """Options of the core in code type, such as `data.workers` or `train.seed=1`."""
    named = re.findall(r"`((?:data|train|eval|model)\.[a-z_.]+)[`=]", document.read_text())
    config = OmegaConf.structured(Config)
    files = ("data.html", "train.yaml")

    assert [name for name in named if name not in files and not _has(config, name)] == []


def _has(config: DictConfig, name: str) -> bool:
    section, _, option = name.rpartition(".")
    return option in OmegaConf.select(config, section, default={})


def test_the_readme_configuration_loads(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)

    config = load_config(["tiny", str(mine)], [], ["vision", "audio", "text"]).config

    weights = {name: source.weight for name, source in config.data.sources.items()}
    assert weights == {"pictures": 65, "clips": 20, "speech": 15}
