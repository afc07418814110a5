"""The scripts of docker/, with stand-ins for the programs that they start."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
_RECIPES = json.loads((DOCKER / "expected.json").read_text())["baselines"]
EXPECTED_STEPS = _RECIPES["nadamw"]["mini"]["mini"]["steps"]["jax"]

# entrypoint.sh, with programs that only say how they were called


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


Entry = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """Runs entrypoint.sh with an `algoperf` that prints its arguments."""
    programs = tmp_path / "bin"
    programs.mkdir()
    _program(programs, "algoperf", 'echo "algoperf $* in $HOME"')
    for folder in ("data", "experiments", "home"):
        (tmp_path / folder).mkdir()

    def run(
        *arguments: str, smi: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        if smi is not None:
            _program(programs, "nvidia-smi", smi)
        environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path / "home"),
            "ALGOPERF_DATA_DIR": str(tmp_path / "data"),
            "EXPERIMENTS": str(tmp_path / "experiments"),
            "MIN_FREE_MIB": "1",
        }
        return subprocess.run(
            ["sh", str(DOCKER / "entrypoint.sh"), *arguments],
            capture_output=True,
            text=True,
            env=environment | variables,
        )

    return run


def test_a_command_is_handed_to_algoperf(entry: Entry, tmp_path: Path) -> None:
    answer = entry("run", "mine.py", "--workload", "mnist_mini")
    assert (
        answer.stdout
        == f"algoperf run mine.py --workload mnist_mini in {tmp_path}/home\n"
    )
    assert answer.returncode == 0


def test_without_arguments_the_workloads_are_listed(entry: Entry) -> None:
    assert entry().stdout.startswith("algoperf list in ")


def test_a_program_is_started_as_it_is(entry: Entry) -> None:
    assert entry("sh", "-c", "echo $((6 * 7))").stdout == "42\n"


def test_a_missing_home_becomes_the_temporary_folder(entry: Entry) -> None:
    assert entry("list", HOME="/nonexistent").stdout == "algoperf list in /tmp\n"
    assert entry("list", HOME="").stdout == "algoperf list in /tmp\n"


def test_the_exit_status_is_the_commands(entry: Entry) -> None:
    assert entry("sh", "-c", "exit 75").returncode == 75


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("run", "EXPERIMENTS"),
        ("targets", "EXPERIMENTS"),
        ("prepare", "ALGOPERF_DATA_DIR"),
    ],
)
def test_a_missing_folder_is_named_with_the_remedy(
    entry: Entry, command: str, folder: str
) -> None:
    answer = entry(command, **{folder: "/nonexistent"})
    assert answer.returncode == 2
    assert "there is no folder /nonexistent; mount one" in answer.stderr
    assert answer.stdout == ""


@pytest.mark.parametrize(
    "command", ["list", "score", "report", "watch", "analyze", "draw-held-out"]
)
def test_what_writes_nothing_needs_no_volume(entry: Entry, command: str) -> None:
    missing = {"EXPERIMENTS": "/nonexistent", "ALGOPERF_DATA_DIR": "/nonexistent"}
    assert entry(command, **missing).returncode == 0


@pytest.mark.parametrize("command", ["run", "prepare", "reproduce"])
def test_help_needs_nothing(entry: Entry, command: str) -> None:
    missing = {"EXPERIMENTS": "/nonexistent", "ALGOPERF_DATA_DIR": "/nonexistent"}
    assert entry(command, "--help", **missing).returncode == 0


def test_folders_that_the_caller_names_are_the_commands_to_check(entry: Entry) -> None:
    assert (
        entry("run", "--experiment-dir=x", EXPERIMENTS="/nonexistent").returncode == 0
    )
    assert (
        entry("prepare", "--data-dir", "x", ALGOPERF_DATA_DIR="/nonexistent").returncode
        == 0
    )


def test_a_folder_that_is_no_volume_is_warned_about(entry: Entry) -> None:
    answer = entry("run")
    assert "is no volume" in answer.stderr and answer.returncode == 0


def test_too_little_space_ends_it(entry: Entry) -> None:
    answer = entry("run", MIN_FREE_MIB="999999999")
    assert answer.returncode == 2
    assert re.search(r"only \d+ MiB are free", answer.stderr)


def test_a_temporary_folder_that_cannot_be_written_ends_it(entry: Entry) -> None:
    answer = entry("run", TMPDIR="/proc")
    assert answer.returncode == 2
    assert "--tmpfs /tmp" in answer.stderr


def test_a_folder_of_someone_else_is_refused_with_both_owners(
    entry: Entry, tmp_path: Path
) -> None:
    answer = entry("run", EXPERIMENTS="/proc")
    assert answer.returncode == 2
    assert "cannot write to /proc, which belongs to 0:0" in answer.stderr
    assert '--user "$(id -u):$(id -g)"' in answer.stderr


NO_GPU = "echo 'NVIDIA-SMI has failed because it could not reach the driver.'; exit 9"


@pytest.mark.parametrize(
    ("smi", "status", "message"),
    [
        (NO_GPU, 2, "could not reach the driver"),
        ("echo No devices were found", 2, "No devices were found"),
        ("true", 2, "finds no usable GPU"),
        ("echo 550.54.14", 2, "550.54.14 is too old for CUDA 13; it needs 580"),
        ("echo 580.65.06; echo 580.65.06", 0, ""),
        ("echo 600.1", 0, ""),
    ],
)
def test_an_image_for_gpus_looks_for_them(
    entry: Entry, smi: str, status: int, message: str
) -> None:
    answer = entry("run", smi=smi, ALGOPERF_DEVICE="cuda")
    assert answer.returncode == status, answer.stderr
    assert message in answer.stderr


@pytest.mark.skipif(
    shutil.which("nvidia-smi") is not None, reason="this machine has GPUs"
)
def test_an_image_for_gpus_without_any_says_how_to_start_it(entry: Entry) -> None:
    answer = entry("run", ALGOPERF_DEVICE="cuda")
    assert answer.returncode == 2
    assert "--gpus all" in answer.stderr and "--nv" in answer.stderr
    assert entry("score", ALGOPERF_DEVICE="cuda").returncode == 0


# reproduce.sh, with an `algoperf` whose leaderboard is made up


@pytest.fixture
def reproduce(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs reproduce.sh where `run` ends with RUN_STATUS and `score` finds STEPS."""
    programs = tmp_path / "bin"
    programs.mkdir()
    entry = '{"ogbg_mini": {"steps": %s, "seconds": 1.5}}'
    board = '{"submissions": [{"submission": "nadamw", "workloads": ' + entry + "}]}"
    _program(
        programs,
        "algoperf",
        f"""echo "$*" >>{tmp_path}/calls
case $1 in
  run) exit ${{RUN_STATUS:-0}} ;;
  score) while [ "$1" != --json ]; do shift; done; printf '{board}' "${{STEPS}}" >"$2" ;;
esac""",
    )

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(DOCKER / "reproduce.sh"), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "STEPS": str(EXPECTED_STEPS),
                **variables,
            },
        )

    return run


def _calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


JAX = ("nadamw-mini", "--framework", "jax")


def test_a_baseline_is_prepared_run_scored_and_compared(
    reproduce, tmp_path: Path
) -> None:
    answer = reproduce(
        *JAX, "--data-dir", "d", "--raw", "/raw", "--experiment-dir", "e"
    )
    assert answer.returncode == 0, answer.stderr
    assert "Reproduced." in answer.stdout
    prepare, run, score = _calls(tmp_path)
    assert prepare == f"prepare ogbg_mini --data-dir {tmp_path}/d --raw /raw"
    assert run.startswith(
        "run reference_algorithms/nadamw/submission_jax.py --workload ogbg_mini"
    )
    logs = f"{tmp_path}/e/nadamw-mini-jax"
    assert f"--experiment-dir {logs} --experiment-name nadamw --resume" in run
    assert score == f"score {logs} --rules paper --studies 1 --json {logs}/board.json"


def test_options_after_two_dashes_reach_the_run(reproduce, tmp_path: Path) -> None:
    reproduce(*JAX, "--overwrite", "--", "--precision", "bf16")
    assert _calls(tmp_path)[1].endswith("--overwrite --precision bf16")


@pytest.mark.parametrize(
    ("variables", "status"),
    [
        ({"STEPS": "12"}, 1),
        ({"STEPS": "null"}, 1),
        (
            {"RUN_STATUS": "1"},
            0,
        ),  # a failed trial is a miss of its study, and the score decides
        ({"RUN_STATUS": "2"}, 2),
        ({"RUN_STATUS": "75"}, 75),
    ],
)
def test_the_status_says_whether_it_is_reproduced(
    reproduce, variables: dict[str, str], status: int
) -> None:
    assert reproduce(*JAX, **variables).returncode == status


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Usage"),
        (("nadamw-mimi",), "Did you mean 'nadamw-mini'?"),
        (("nadamw-mini", "adamw-mini"), "one name at a time"),
        (("nadamw-mini", "--frameworks"), "no option --frameworks"),
        (("nadamw-mini", "--framework"), "--framework needs a value"),
        (("nadamw-mini", "--framework", "tensorflow"), "no framework 'tensorflow'"),
    ],
)
def test_wrong_input_is_found_before_anything_starts(
    reproduce, tmp_path: Path, arguments, message
) -> None:
    answer = reproduce(*arguments)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert not (tmp_path / "calls").exists()


# slurm.sh, with a container that waits for its end


@pytest.fixture
def slurm(tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts slurm.sh where `apptainer` runs the given text, and `scontrol` writes a file."""
    programs = tmp_path / "bin"
    programs.mkdir()
    _program(programs, "scontrol", f'echo "$*" >{tmp_path}/requeued')

    def start(
        apptainer: str, *arguments: str, **variables: str
    ) -> "subprocess.Popen[str]":
        _program(programs, "apptainer", apptainer)
        return subprocess.Popen(
            ["sh", str(DOCKER / "slurm.sh"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": f"{programs}:{os.environ['PATH']}", **variables},
        )

    return start


ARRAY = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_JOB_ID": "77"}
JOB = ("image.sif", "nadamw", "ogbg", "jax")


def test_an_array_job_runs_its_own_study(slurm) -> None:
    out, _ = slurm('echo "$*"', *JOB, **ARRAY).communicate(timeout=30)
    assert "--first-study 3 --studies 1" in out
    assert (
        out.split(" run ")[1].split()[0]
        == "reference_algorithms/nadamw/submission_jax.py"
    )
    from algoperf.cli import _parser

    options = _parser().parse_args(["run", *out.split(" run ")[1].split()])
    assert (options.first_study, options.num_studies, options.on_existing) == (
        3,
        1,
        "resume",
    )


def test_a_plan_runs_as_a_campaign_and_is_requeued_as_its_job(
    slurm, tmp_path: Path
) -> None:
    plan = tmp_path / "autumn.toml"
    plan.touch()
    job = slurm('echo "$*"; exit 75', "i.sif", str(plan), SLURM_JOB_ID="78")
    out, _ = job.communicate(timeout=30)
    assert f",{tmp_path}:/plan i.sif campaign run /plan/autumn.toml" in out
    assert "--folder /experiments/autumn --data-dir /data" in out
    assert job.returncode == 75
    assert (tmp_path / "requeued").read_text() == "requeue 78\n"


def test_a_plan_that_is_not_there_is_refused(slurm) -> None:
    job = slurm("true", "i.sif", "none.toml")
    assert "there is no plan none.toml" in job.communicate(timeout=30)[1]
    assert job.returncode == 2


def test_pytorch_gets_a_process_per_gpu(slurm) -> None:
    job = slurm(
        'echo "$*"', "i", "nadamw", "ogbg", "pytorch", SLURM_GPUS_ON_NODE="4", **ARRAY
    )
    assert "--num-processes 4 " in job.communicate(timeout=30)[0]


def test_a_job_that_is_ended_early_waits_for_its_checkpoint_and_is_requeued(
    slurm, tmp_path: Path
) -> None:
    waits = "trap 'sleep 0.3; exit 75' TERM; echo ready; while :; do sleep 0.05; done"
    job = slurm(waits, *JOB, **ARRAY)
    assert job.stdout.readline() == "ready\n"
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 75
    assert (tmp_path / "requeued").read_text() == "requeue 77_3\n"


@pytest.mark.parametrize("status", [0, 1])
def test_a_job_that_ends_by_itself_is_not_requeued(
    slurm, tmp_path: Path, status: int
) -> None:
    assert slurm(f"exit {status}", *JOB, **ARRAY).wait(timeout=30) == status
    assert not (tmp_path / "requeued").exists()


def test_a_job_outside_an_array_says_how_to_start_it(slurm) -> None:
    job = slurm("true", *JOB)
    assert "--array" in job.communicate(timeout=30)[1] and job.returncode == 2
