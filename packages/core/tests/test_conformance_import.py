"""What importing a module does is seen, all of it, and with the line."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from spectranet.testing.package.fresh_import import import_facts

MEDDLING = """\
import logging, os, random, signal, subprocess, sys, threading, warnings
os.environ["LIDAR_HOME"] = "x"
threading.Thread(target=int).start()
logging.basicConfig(level="INFO")
open(os.path.join(os.environ["TMPDIR"], "lidar.lock"), "w").close()
os.remove(os.path.join(os.environ["TMPDIR"], "lidar.lock"))
warnings.simplefilter("ignore")
random.seed(3)
import numpy
numpy.random.seed(4)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.path.append("/lidar")
subprocess.run([sys.executable, "-c", ""])
os.chdir("..")
sys.setrecursionlimit(5000)
print("hello")
"""

SEEN = [
    "sets the environment variable 'LIDAR_HOME' at meddling_lidar.py:2",
    "starts a thread at meddling_lidar.py:3",
    "writes '{tmp}/lidar.lock' at meddling_lidar.py:5",
    "deletes '{tmp}/lidar.lock' at meddling_lidar.py:6",
    "starts the process '{python}' at meddling_lidar.py:13",
    "changes the working directory to '..' at meddling_lidar.py:14",
    "changes sys.path: /lidar came",
    "changes the recursion limit",
    "changes the warning filters: ",
    "changes the root logger: INFO came",
    "changes the signal handlers: ",
    "changes the global state of random",
    "changes the global state of numpy.random",
    "prints 'hello'",
]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module whose source is the parameter; no other test has imported it."""
    name, source = request.param
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return name


@pytest.mark.parametrize("module", [("meddling_lidar", MEDDLING)], indirect=True)
def test_every_effect_is_seen(module: str, tmp_path: Path) -> None:
    facts = import_facts(module)

    expected = [line.format(tmp=tmp_path, python=sys.executable)[:110] for line in SEEN]
    assert facts.error == "" and facts.network == []
    assert [each for each in expected if not any(seen.startswith(each) for seen in facts.effects)] == []
    assert len(facts.effects) == len(SEEN), facts.effects


ONLINE = """\
import socket
socket.socket().close()
try:
    socket.create_connection(("localhost", 9))
except OSError as error:
    assert "closed" in str(error)
import time
time.sleep(0.3)
"""


@pytest.mark.parametrize("module", [("online_lidar", ONLINE)], indirect=True)
def test_the_network_is_closed_and_sleep_is_time(module: str) -> None:
    facts = import_facts(module)

    assert facts.error == ""
    assert facts.network == [
        "opens a socket at online_lidar.py:2",
        "looks up 'localhost' at online_lidar.py:4",
    ]
    assert facts.slept_s == 0.3


@pytest.mark.parametrize(
    ("module", "error"),
    [
        (("exiting_lidar", "raise SystemExit('no licence')"), "SystemExit: no licence"),
        (("dying_lidar", "import os\nos._exit(7)"), "the importing process ended with code 7: no word"),
        (
            ("absent_lidar", "import no_such_package"),
            "ModuleNotFoundError: No module named 'no_such_package'",
        ),
    ],
    indirect=["module"],
)
def test_an_import_that_fails_is_told(module: str, error: str) -> None:
    assert import_facts(module).error == error


@pytest.mark.parametrize(
    "module",
    [
        (
            "lawful_lidar",
            """\
            import logging
            import warnings
            from pathlib import Path

            logger = logging.getLogger(__name__)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
            table = Path(__file__).read_text()
            """,
        )
    ],
    indirect=True,
)
def test_what_is_harmless_is_not_reported(module: str) -> None:
    facts = import_facts(module)

    assert (facts.error, facts.effects, facts.network, facts.heavy) == ("", [], [], {})
