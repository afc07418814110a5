"""`algoperf score` from the outside: arguments, outputs, standard output."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

# Arguments


@pytest.mark.parametrize(
    "words",
    [
        ("--studies", "0"),
        ("--studies", "-3"),
        ("--studies", "99999999999999999999"),
        ("--studies", "9" * 5000),
        ("--studies", "1.5"),
        ("--studies", ""),
        ("--held-out", ","),
        ("--held-out", ""),
        ("--held-out", "alpha,,beta"),
        ("--held-out", "alpha,alpha"),
        ("--held-out", "nothing"),
        ("--json", ""),
        ("--figure", ""),
        ("--targets", ""),
        ("--targets", "/dev/full"),
        ("--targets", "x" * 5000),
        ("--json", "x" * 300),
        ("--json", "y/" * 5000),
        ("--json", "/dev/null"),
        ("--json", "/dev/full"),
        ("--json", "."),
        ("--figure", "/proc/version"),
        ("--reference", ""),
        ("--rules", "v9"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(root, run, words, monkeypatch):
    monkeypatch.chdir(root)
    status, _, err = run(*words)
    assert status == 2
    assert len(err.strip().splitlines()[-1]) < 12_000


def test_no_held_out_workloads_can_be_asked_for(root, run):
    assert run("--held-out", "none")[0] == 0


def test_an_empty_directory_argument_is_not_the_current_folder(root, run, monkeypatch):
    monkeypatch.chdir(root / "logs")
    assert run(directory="")[0] == 2


# Outputs


def test_json_to_standard_output_is_json_alone(root, run, monkeypatch):
    monkeypatch.chdir(root)
    status, out, _ = run("--json", "-")
    assert status == 0 and json.loads(out)["submissions"][0]["submission"] == "one"
    assert not (root / "-").exists()


def test_an_output_that_is_a_loop_of_links_is_one_sentence(root, run):
    (root / "loop").symlink_to(root / "loop")
    for path in (root / "loop", root / "loop/board.json"):
        status, _, err = run("--json", str(path))
        assert status == 2 and err.count("\n") == 1


def test_an_output_that_is_a_link_keeps_the_link(root, run):
    (root / "link.json").symlink_to(root / "real.json")
    (root / "real.json").write_text("old")
    assert run("--json", str(root / "link.json"))[0] == 0
    assert (root / "link.json").is_symlink()
    assert json.loads((root / "real.json").read_text())["ruleset"] == "v0.5"


def test_two_outputs_in_one_place_are_refused(root, run):
    status, _, err = run("--json", str(root / "x"), "--figure", str(root / "logs/../x"))
    assert status == 2 and "same place" in err
    assert not (root / "x").exists()


def test_an_output_that_fails_leaves_the_old_file(root, run, monkeypatch):
    (root / "board.json").write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    status, _, err = run("--json", str(root / "board.json"))
    assert status == 2 and "No space left on device" in err and "--resume" not in err
    assert (root / "board.json").read_text() == "old"
    assert {p.name for p in root.iterdir()} == {"board.json", "logs", "targets.json"}


def in_a_shell(root: Path, command: str, rest: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed command with redirections, which only a process can meet."""
    words = [sys.executable, "-m", "algoperf.cli", *command.split(), str(root / "logs")]
    words += ["--rules", "v0.5", "--targets", str(root / "targets.json")]
    line = f"{shlex.join(words)} {rest}"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("score", "> /dev/full"),
        ("score", "--json - > /dev/full"),
        ("report", "-o - > /dev/full"),
        ("analyze relax", "> /dev/full"),
    ],
)
def test_a_full_standard_output_is_a_failure_in_one_sentence(root, command, rest):
    result = in_a_shell(root, command, rest)
    assert (result.returncode, result.stderr) == (
        1,
        "algoperf: error: the output could not be written: No space left on device.\n",
    )


def test_a_closed_standard_output_is_as_if_discarded(root):
    result = in_a_shell(root, "score", ">&-")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_reader_that_has_read_enough_is_no_error(root):
    result = in_a_shell(root, "score", "| head -1; exit ${PIPESTATUS[0]}")
    assert (result.returncode, result.stderr) == (0, "")


def test_paths_are_expanded(root, run, monkeypatch):
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("WHERE", str(root))
    assert run("--json", "~/a.json", "--figure", "$WHERE/b.svg")[0] == 0
    assert (root / "a.json").exists() and (root / "b.svg").exists()
