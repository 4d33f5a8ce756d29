"""The files for clusters: well-formed, 64 GPUs each, one command, and exit codes that mean what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from spectranet.config import load_config

EXAMPLES = Path(__file__).parents[1] / "examples"
SLURM = (EXAMPLES / "slurm.sh").read_text()
KUBERNETES = yaml.safe_load((EXAMPLES / "kubernetes.yaml").read_text())
SKYPILOT = yaml.safe_load((EXAMPLES / "skypilot.yaml").read_text())
LAUNCHER = EXAMPLES / "torchrun.py"
GPUS = 64
RESUME = {"saved": 75, "lost a rank": 76}
MENDED_BY_A_PERSON = {"fault": 1, "mistake": 2, "diverged": 3, "disk full": 74, "interrupted": 130}


def kubernetes_job() -> dict[str, Any]:
    (replicated,) = KUBERNETES["spec"]["replicatedJobs"]
    assert replicated["replicas"] == 1
    return replicated["template"]["spec"]


def container() -> dict[str, Any]:
    (one,) = kubernetes_job()["template"]["spec"]["containers"]
    return one


def command(script: str) -> list[str]:
    """The words of the one launch in a shell script."""
    joined = script.replace("\\\n", " ")
    (line,) = re.findall(r"python examples/torchrun\.py .*", joined)
    return shlex.split(line)


def commands() -> dict[str, list[str]]:
    return {
        "slurm": command(SLURM),
        "kubernetes": command(container()["command"][-1]),
        "skypilot": command(SKYPILOT["run"]),
    }


def scripts() -> dict[str, str]:
    return {
        "slurm": SLURM,
        "kubernetes": container()["command"][-1],
        "skypilot": SKYPILOT["run"],
        "skypilot, set-up": SKYPILOT["setup"],
    }


@pytest.mark.parametrize("name, script", scripts().items(), ids=scripts())
def test_bash_can_read_it(name: str, script: str, tmp_path: Path) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", "-s", "bash", "-e", "SC2154", "-"], input=script, text=True)
        assert found.returncode == 0


def test_all_three_run_the_same_command() -> None:
    slurm, kubernetes, skypilot = commands().values()
    assert slurm == kubernetes == skypilot


def test_the_command_is_one_that_torchrun_and_spectranet_take() -> None:
    launch, train = split_at(commands()["slurm"], "-m")
    assert train[:2] == ["spectranet", "train"]
    known = subprocess.run([sys.executable, LAUNCHER, "--help"], capture_output=True, text=True, check=True)
    for option in (word for word in launch if word.startswith("--")):
        assert option in known.stdout
    options, overrides = [], []
    for word in train[2:]:
        (overrides if "=" in word else options).append(word.replace("$SHARED", "/shared"))
    given = dict(zip(options[::2], options[1::2], strict=True))
    resolved = load_config([given["--config"]], overrides, given["--plugins"].split(","))
    assert resolved.config.train.global_batch % GPUS == 0
    assert all(source.path for source in resolved.config.data.sources.values())


def split_at(words: list[str], word: str) -> tuple[list[str], list[str]]:
    place = words.index(word)
    return words[:place], words[place + 1 :]


def test_each_asks_for_as_many_gpus_as_the_command_uses() -> None:
    words = commands()["slurm"]
    nodes, ranks = (int(words[words.index(name) + 1]) for name in ("--nnodes", "--nproc-per-node"))
    assert nodes * ranks == GPUS
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", SLURM, re.MULTILINE))
    assert (int(directives["nodes"]), int(directives["gpus-per-node"])) == (nodes, ranks)
    assert directives["ntasks-per-node"] == "1"
    job = kubernetes_job()
    assert job["completions"] == job["parallelism"] == nodes
    assert container()["resources"]["limits"]["nvidia.com/gpu"] == ranks
    assert SKYPILOT["num_nodes"] == nodes
    assert SKYPILOT["resources"]["accelerators"].endswith(f":{ranks}")


def test_every_variable_of_the_command_is_set() -> None:
    set_by = {
        "slurm": set(re.findall(r"^(?:export )?(\w+)=", SLURM, re.MULTILINE)),
        "kubernetes": {each["name"] for each in container()["env"]},
        "skypilot": {*SKYPILOT["envs"], *re.findall(r"^(\w+)=", SKYPILOT["run"], re.MULTILINE)},
    }
    for name, words in commands().items():
        assert {used for word in words for used in re.findall(r"\$(\w+)", word)} <= set_by[name]
        assert "HF_HUB_OFFLINE" in set_by[name]


def test_ranks_get_all_cores_of_their_node() -> None:
    """Some versions of srun take one core a task, whatever sbatch was asked for."""
    (srun,) = re.findall(r"^srun .*", SLURM.replace("\\\n", " "), re.MULTILINE)
    assert '--cpus-per-task="$SLURM_CPUS_PER_TASK"' in srun
    assert re.search(r"^#SBATCH --cpus-per-task=\d+", SLURM, re.MULTILINE)


def test_the_jobset_is_one() -> None:
    assert (KUBERNETES["apiVersion"], KUBERNETES["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    job, pod = kubernetes_job(), kubernetes_job()["template"]["spec"]
    assert pod["restartPolicy"] == "Never", "Kubernetes allows a podFailurePolicy with no other"
    assert (job["completionMode"], job["backoffLimit"]) == ("Indexed", 0)
    (head,) = [each["value"] for each in container()["env"] if each["name"] == "HEAD"]
    assert head == f"{KUBERNETES['metadata']['name']}-node-0-0.{pod['subdomain']}"
    assert container()["command"][-1].startswith("exec "), "SIGTERM goes to the first process"
    mounted = {each["name"] for each in container()["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}


def test_exit_codes_that_a_repetition_mends_repeat_and_others_do_not() -> None:
    (repeated,) = re.findall(r"^ +([\d| ]+)\) .*# saved and stopped", SLURM, re.MULTILINE)
    slurm = {int(code) for code in repeated.split("|")}
    (rule,) = kubernetes_job()["podFailurePolicy"]["rules"]
    (failing,) = KUBERNETES["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], failing["action"]) == ("FailJob", "FailJobSet")
    assert failing["onJobFailureReasons"] == ["PodFailurePolicy"]
    skypilot = set(SKYPILOT["resources"]["job_recovery"]["recover_on_exit_codes"])
    for code in RESUME.values():
        assert code in slurm and code in skypilot and code not in rule["onExitCodes"]["values"]
    for code in MENDED_BY_A_PERSON.values():
        assert code not in slurm and code not in skypilot and code in rule["onExitCodes"]["values"]


def test_slurm_requeues_what_makes_progress_and_nothing_else(tmp_path: Path) -> None:
    """The script itself, between an srun that ends as it is told and an scontrol that takes notes."""
    programs = {
        "srun": "exit $CODE",
        "scontrol": f'[ "$1" = show ] && echo node-0 || echo $* >> {tmp_path}/asked',
    }
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "slurm.sh").write_text(SLURM.replace("SHARED=/shared", f"SHARED={tmp_path}"))
    checkpoints = tmp_path / "runs/spectranet-l/checkpoints"
    checkpoints.mkdir(parents=True)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[0-7]", "SLURM_CPUS_PER_TASK": "96"}

    def is_requeued(code: int) -> bool:
        environment = os.environ | slurm | {"CODE": str(code), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        (tmp_path / "asked").write_text("")
        ended = subprocess.run(["bash", tmp_path / "slurm.sh"], env=environment, stdout=subprocess.DEVNULL)
        assert ended.returncode == code
        return (tmp_path / "asked").read_text() == "requeue 7\n"

    assert [is_requeued(code) for code in MENDED_BY_A_PERSON.values()] == [False] * 5
    (checkpoints.parent / "lost-after").unlink()
    assert [is_requeued(76) for _ in range(4)] == [True, True, False, False]
    (checkpoints / "step-00000100").mkdir()
    assert [is_requeued(code) for code in (76, 75, 75, 75, 137, 76)] == [True] * 5 + [False]
    (checkpoints / "step-00000200.tmp").mkdir()
    assert not is_requeued(76)
    (checkpoints / "step-00000200").mkdir()
    assert is_requeued(76)


RANK = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), os._exit(75)))
Path(sys.argv[1], os.environ["RANK"]).touch()
if sys.argv[2] == "deaf":
    os.kill(os.getpid(), signal.SIGUSR1)
if sys.argv[2] != "wait":
    sys.exit(int(sys.argv[2]) if os.environ["RANK"] == "1" else 0)
time.sleep(60)
"""


def launch(folder: Path, what: str) -> subprocess.Popen[bytes]:
    """Two ranks that import nothing, under the launcher of the examples."""
    (folder / "rank.py").write_text(RANK)
    ranks = ["--no-python", sys.executable, "-S", str(folder / "rank.py"), str(folder), what]
    words = [sys.executable, str(LAUNCHER), "--standalone", "--nproc-per-node", "2", *ranks]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_the_launcher_ends_with_the_code_of_the_rank_that_failed(tmp_path: Path) -> None:
    assert launch(tmp_path, "76").wait(60) == 76


def test_a_rank_that_a_signal_ends_before_it_can_listen_is_to_be_repeated(tmp_path: Path) -> None:
    """Slurm signals every process of a step, ranks that still import among them."""
    assert launch(tmp_path, "deaf").wait(60) == 75


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_schedulers_signal_reaches_the_ranks_and_their_code_comes_back(
    number: signal.Signals, tmp_path: Path
) -> None:
    launcher = launch(tmp_path, "wait")
    end = time.monotonic() + 60
    while not ((tmp_path / "0").exists() and (tmp_path / "1").exists()):
        assert time.monotonic() < end and launcher.poll() is None
        time.sleep(0.05)
    launcher.send_signal(number)
    assert launcher.wait(60) == 75
