"""Follows `docs/first_submission.md` word by word, in a copy of what it uses of a checkout.

Each command is run and each edit made as it stands on the page, but for what the page itself
says: `--max-steps 200` for a quick try, and the words that differ in PyTorch.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "first_submission.md").read_text()
QUICK = "--max-steps 200"
PYTORCH_WORDS = {  # as the page's last section has them
    "submission.py": "submission_pytorch.py",
    "submission_jax": "submission_pytorch",
    "--framework jax": "--framework pytorch",
}
PACKAGES = {"jax": "flax", "pytorch": "torch"}
_BLOCK = re.compile(r"^([^\n]*)\n+```(\w+)\n(.*?)```", re.M | re.S)
_FILE = re.compile(r"`(submissions/mine/[\w.]+)`")


@dataclass(frozen=True)
class Block:
    """A code block and the line before it."""

    before: str
    kind: str  # sh, diff, json, text
    text: str


BLOCKS = [Block(*match.groups()) for match in _BLOCK.finditer(PAGE)]
COMMANDS = "".join(block.text for block in BLOCKS if block.kind == "sh")


def edits() -> list[tuple[str, str, str]]:
    """File, what is there, and what replaces it."""
    found = []
    for block in BLOCKS:
        if block.kind == "diff":
            lines = block.text.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            found.append((_FILE.search(block.before)[1], old, new))
    return found


def commands(framework: str) -> list[str]:
    """One command a line, with a first try's budget."""
    text = COMMANDS.replace("\\\n", " ")
    if framework == "pytorch":
        for jax, pytorch in PYTORCH_WORDS.items():
            text = text.replace(jax, pytorch)
    return [
        f"{line} {QUICK}" if line.startswith("algoperf run") else line
        for line in text.splitlines()
    ]


@pytest.fixture
def checkout(tmp_path):
    """The parts of a checkout that the page names."""
    for name in ("submissions/template", "reference_algorithms"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    script = f'#!/bin/sh\nexec "{sys.executable}" -m algoperf.cli "$@"\n'
    (tmp_path / "bin" / "algoperf").write_text(script)
    (tmp_path / "bin" / "algoperf").chmod(0o755)
    return tmp_path


def run(command: str, checkout: Path) -> str:
    environment = {
        **os.environ,
        "PATH": f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "ALGOPERF_DATA_DIR": str(checkout / "data"),
        "OMP_NUM_THREADS": "1",
    }
    result = subprocess.run(
        ["sh", "-c", command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def edit(checkout: Path) -> None:
    for name, old, new in edits():
        path = checkout / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} holds {text.count(old)} times:\n{old}"
        path.write_text(text.replace(old, new))
    (space,) = [block for block in BLOCKS if block.kind == "json"]
    (checkout / _FILE.search(space.before)[1]).write_text(space.text)


def follow(framework: str, checkout: Path) -> dict[str, str]:
    """Does what the page says; what each subcommand has printed."""
    first, *others = commands(framework)
    run(first, checkout)
    edit(checkout)
    said: dict[str, str] = {}
    for command in others:
        name = command.split()[1]
        said[name] = said.get(name, "") + run(command, checkout)
    return said


def test_the_page_says_what_the_test_changes():
    assert f"add `{QUICK}` to every `algoperf run`" in PAGE
    for jax, pytorch in PYTORCH_WORDS.items():
        assert re.search(f"`{re.escape(pytorch)}`\\s+for\\s+`{re.escape(jax)}`", PAGE)


def test_every_block_of_the_page_is_a_command_an_edit_or_an_output():
    fences = PAGE.count("```") // 2
    kinds = [block.kind for block in BLOCKS]
    assert len(kinds) == fences
    assert set(kinds) == {"sh", "diff", "json", "text"}
    assert len(edits()) == 3
    assert [command.split()[0] for command in commands("jax")] == 7 * ["algoperf"]


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_who_follows_the_page_gets_a_leaderboard_with_both(framework, checkout):
    pytest.importorskip(PACKAGES[framework])
    said = follow(framework, checkout)
    for workload in ("mnist_mini", "ogbg_mini"):
        assert f"rehearsal on {workload}: ok" in said["check"]
    assert said["check"].endswith("verdict: ok\n")
    trials = re.findall(r"^(\w+), mnist_mini .* trial (\d):", said["run"], re.M)
    assert trials == [("mine", f"{i}") for i in (1, 2, 3)] + [
        ("adamw", "1"),
        ("adamw", "2"),
    ]
    table = said["score"].partition("\n\n")[0]
    assert re.search(r"^ +\d+ +mine ", table, re.M)
    assert re.search(r"^ +\d+ +adamw ", table, re.M)
    assert "mine" in (checkout / "report.html").read_text()
