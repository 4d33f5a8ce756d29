"""Which commands do the documents name?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ROOT", "Command", "commands_in", "documents", "files_in", "untagged_commands"]

ROOT = Path(__file__).parents[2]
SHELL = ("console", "sh", "bash")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
PROGRAMS = (
    "git",
    "kubectl",
    "make",
    "nox",
    "python",
    "python3",
    "pip",
    "pytest",
    "sbatch",
    "sky",
    "spectranet",
    "torchrun",
)
IN_PROSE = ("spectranet ", "python -m spectranet", "torchrun ", "sbatch ", "kubectl ", "sky ")
"""How a command begins that stands in a sentence; what else is in code type there is a name or a message."""


@dataclass(frozen=True)
class Command:
    """One command, as it would be typed: several lines where it is continued.

    Attributes:
        document: path from the root of the repository.
        line: where it stands, from 1.
        text: the words.
        block: the line where its block begins; 0 of a command in a sentence.
    """

    document: str
    line: int
    text: str
    block: int = 0

    def __str__(self) -> str:
        return f"{self.document}:{self.line}: {self.text}"

    @property
    def in_block(self) -> bool:
        return self.block > 0

    @property
    def is_a_bare_name(self) -> bool:
        """Whether a sentence names the command and no argument: ``spectranet data inspect``."""
        return not self.in_block and re.fullmatch(r"[a-z -]+", self.text) is not None


def documents() -> list[str]:
    """README.md, docs/, and the READMEs of packages and examples, by path from the root."""
    patterns = ("README.md", "docs/**/*.md", "packages/*/README.md", "examples/*/README.md")
    return sorted(path.relative_to(ROOT).as_posix() for each in patterns for path in ROOT.glob(each))


def commands_in(document: str, text: str) -> list[Command]:
    """All commands of a document in their order."""
    found = [*_in_blocks(document, text), *_in_prose(document, text)]
    return sorted(found, key=lambda command: command.line)


def files_in(text: str) -> dict[str, str]:
    """Name -> text of the files that a document shows whole: YAML whose first line is ``# mine.yaml``."""
    blocks = [content for _, language, content in FENCE.findall(text) if language == "yaml"]
    named = [(re.match(r"# ([\w.-]+\.yaml)\n", content), content) for content in blocks]
    return {match[1]: content for match, content in named if match}


def untagged_commands(text: str) -> list[str]:
    """Commands in blocks that do not say so: fences without a language, and text that is merely indented."""
    fenced = [
        line for _, language, content in FENCE.findall(text) if not language for line in content.splitlines()
    ]
    outside = FENCE.sub("", text)
    indented = re.findall(r"(?:\A|\n\n) {4}(\S.*)", outside)
    return [line for line in (*fenced, *indented) if line.removeprefix("$ ").split(" ")[0] in PROGRAMS]


def _in_blocks(document: str, text: str) -> Iterator[Command]:
    for fence in FENCE.finditer(text):
        if fence[2] in SHELL:
            first = text.count("\n", 0, fence.start()) + 2
            for line, command in _typed(fence[3]):
                yield Command(document, first + line, command, block=first)


def _typed(block: str) -> Iterator[tuple[int, str]]:
    """(line, command) of a block: what follows a ``$``, or every line where there is none."""
    prompted = re.search(r"^ *\$ ", block, re.MULTILINE) is not None
    begun: tuple[int, str] | None = None
    for number, line in enumerate(block.splitlines()):
        if begun is None:
            text = line.strip()
            if not text or text.startswith("#") or (prompted and not text.startswith("$ ")):
                continue
            begun = number, re.sub(r"\s{2,}#.*", "", text.removeprefix("$ "))
        else:
            begun = begun[0], f"{begun[1]}\n{line}"
        if not begun[1].endswith("\\"):
            yield begun
            begun = None


def _in_prose(document: str, text: str) -> Iterator[Command]:
    blank = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for code in re.finditer(r"(?<!`)`([^`]+)`(?!`)", blank):
        words = " ".join(code[1].split())
        if words.startswith(IN_PROSE):
            yield Command(document, blank.count("\n", 0, code.start()) + 1, words)
