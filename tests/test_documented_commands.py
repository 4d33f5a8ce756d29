"""Every command in README.md, docs/ and the READMEs of packages and examples does what it is said to do.

All blocks of commands are run, line by line, in the order of their document, and so are commands within
sentences. They run as they stand, in a folder that has what they name; see ``documented/``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "documented"))
from commands import ROOT, Command, commands_in, documents, files_in, untagged_commands
from sandbox import Done, Sandbox, WarmServer, write_data

EXCUSED = {
    "git clone … spectranet && cd spectranet": "the address of the repository is not known yet",
}
"""Commands that are not run, and why. None of ours may be here."""

ELSEWHERE = {
    "docs/authors/first-plugin.md": "tests/wheels/first_plugin.py",
    "docs/authors/publishing.md": "tests/wheels/publishing.py",
    "examples/spectranet-inertial/README.md": "tests/wheels/inertial.py",
}
"""Document -> the program that reads the blocks out of it and runs them where only wheels are installed.
The same block in another document is not run again."""

BEFORE = {"docs/report.md": "spectranet train --plugins vision,text --config tiny --config mine.yaml"}
"""What a reader of a document has done before."""

STOPPED = 75
PLACEHOLDERS = {
    "RUN": "runs/mine",
    "INPUT…": "captions.jsonl",
    "CLAUSE": "padding-is-inert",
    "modality NAME": "modality lidar",
    "objective NAME": "objective recall",
    "…": "--config tiny --config mine.yaml",
}
"""Words that a sentence leaves to the reader."""

STATELESS = "spectranet plan "
"""How a command begins whose answer depends on its words alone: it is run once, in whichever document."""

SLOW = {"README.md", "docs/clusters.md", "docs/plan.md"}
"""Documents that take more than ten seconds."""

TEXTS = {document: (ROOT / document).read_text() for document in documents()}
COMMANDS = {document: commands_in(document, text) for document, text in TEXTS.items()}
RUN_ELSEWHERE = {each.text for document in ELSEWHERE for each in COMMANDS[document] if each.in_block}
FILES = {False: files_in(TEXTS["README.md"]), True: files_in(TEXTS["docs/index.md"])}
"""Whether a document is in docs/ -> the files that its commands find, unless it shows others itself."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes have which test at the same time."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "documented"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process is in here with the same folder."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    with alone(shared):
        if not (shared / "data").exists():
            (shared / "data").mkdir()
            write_data(shared / "data")
    return shared / "data"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmServer]:
    started = WarmServer(tmp_path_factory.mktemp("warm"))
    started.wait_until_ready()
    yield started
    started.close()


def typed(command: Command) -> str:
    """What is run for a command: itself; of a bare name the help; with the reader's words in their places."""
    if command.is_a_bare_name:
        return f"{command.text} --help"
    text = command.text
    if not command.in_block:
        for placeholder, words in PLACEHOLDERS.items():
            text = re.sub(rf"(?<!\w){placeholder}(?!\w)", words, text)
    return text


def is_as_promised(command: Command, done: Done) -> bool:
    """It ended with 0; a run that was stopped said where it goes on."""
    if done.code == 0:
        return True
    trains = re.search(r"\bspectranet train\b", command.text) is not None
    says_so = re.search(r"stopped after step \d+, now saved", done.said) is not None
    return (
        trains and says_so and done.code in (STOPPED, 1 if command.text.startswith("torchrun") else STOPPED)
    )


def files_for(document: str) -> dict[str, str]:
    return FILES[document.startswith("docs/")] | files_in(TEXTS[document])


def to_run(document: str) -> list[Command]:
    """The commands of a document that are run here."""
    blocks: dict[int, set[str]] = {}
    for command in COMMANDS[document]:
        blocks.setdefault(command.block, set()).add(command.text)
    done = {block for block, texts in blocks.items() if block and texts <= RUN_ELSEWHERE}
    return [each for each in COMMANDS[document] if each.text not in EXCUSED and each.block not in done]


def marked(document: str) -> object:
    return pytest.param(document, marks=pytest.mark.slow) if document in SLOW else document


@pytest.mark.parametrize("document", [marked(document) for document in TEXTS if to_run(document)])
def test_its_commands_run(
    document: str, tmp_path: Path, shared: Path, data: Path, server: WarmServer
) -> None:
    sandbox = Sandbox(tmp_path / "checkout", data, server, files_for(document))
    if document in BEFORE:
        assert sandbox.run(BEFORE[document]).code == STOPPED

    for command in to_run(document):
        with alone(shared) if command.text.startswith(STATELESS) else nullcontext():
            answered = shared / hashlib.sha256(command.text.encode()).hexdigest()
            if answered.exists():
                continue
            done = sandbox.run(typed(command))
            assert is_as_promised(command, done), f"{command}\nended with {done.code}:\n{done.said}"
            if command.text.startswith(STATELESS):
                answered.touch()


def test_every_command_is_run_here_or_elsewhere_or_excused() -> None:
    every = {command.text for commands in COMMANDS.values() for command in commands}

    assert len(every) > 60
    assert set(EXCUSED) <= every, "an excuse for a command that no document has any more"
    assert not any(re.search(r"\b(spectranet|torchrun) \w", text) for text in EXCUSED), "ours are run"
    for document, program in ELSEWHERE.items():
        assert COMMANDS[document] and Path(document).name in (ROOT / program).read_text()


@pytest.mark.parametrize("document", TEXTS)
def test_blocks_of_commands_say_so(document: str) -> None:
    assert untagged_commands(TEXTS[document]) == [], "begin the block with ```console"


DOCUMENT = """
Say `spectranet  plugins`, `spectranet report RUN`, `docs/x.md`.

```console
$ spectranet config show \\
    --config tiny   # a remark
preset tiny
$ make test
```

    pip install it

```bash
# not this
spectranet train a=b   # but this
```

```
spectranet eval
```

```yaml
# mine.yaml
train: {}
```
"""


def test_commands_are_found_where_they_stand() -> None:
    found = [(command.line, typed(command)) for command in commands_in("x.md", DOCUMENT)]

    assert found == [
        (2, "spectranet plugins --help"),
        (2, "spectranet report runs/mine"),
        (5, "spectranet config show \\\n    --config tiny   # a remark"),
        (8, "make test"),
        (15, "spectranet train a=b"),
    ]
    assert untagged_commands(DOCUMENT) == ["spectranet eval", "pip install it"]
    assert files_in(DOCUMENT) == {"mine.yaml": "# mine.yaml\ntrain: {}\n"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("spectranet tarin", "no command 'tarin'"),
        ("spectranet train --plugins text --config tiny train.stesp=3", "train.stesp"),
        ("spectranet plugins | grep nothing", ""),
        ("python -m pip install spectranet-lidar", "nobody publishes spectranet-lidar"),
        ("python -m pip install -e packages/lidar", "packages/lidar is no project"),
        ("make dmeo", "starts no task"),
        ("nox -s tsets", "no session tsets"),
        ("sbatch examples/kubernetes.yaml", "is no script for sbatch"),
        ("kubectl apply -f examples/skypilot.yaml", "apply -f"),
        ("torchrun --nproc-per-node 8 train.py", "-m spectranet is missing"),
        ("python gone.py", "gone.py"),
    ],
)
def test_a_command_that_is_wrong_is_noticed(
    wrong: str, said: str, tmp_path: Path, data: Path, server: WarmServer
) -> None:
    sandbox = Sandbox(tmp_path / "checkout", data, server, {})
    command = Command("x.md", 1, wrong, block=1)

    done = sandbox.run(typed(command))

    assert not is_as_promised(command, done) and said in done.said
