import json
import subprocess

import numpy as np
import pytest

import algoperf
from algoperf.runner import machine


@pytest.fixture
def submission(tmp_path):
    """The path of a submission of two files."""
    path = tmp_path / "mine" / "submission.py"
    path.parent.mkdir()
    path.write_text("RATE = 0.1\n")
    (path.parent / "helper.py").write_text("x = 1\n")
    return path


def test_a_description_can_be_logged_as_json():
    host = machine.host().to_json()
    assert json.loads(json.dumps(host)) == host


def test_hardware_versions_and_commit_are_described():
    host, versions = machine.host(), machine.versions()
    assert host.cores >= 1 and host.memory_bytes > 2**20 and host.cpu
    assert versions["algoperf"] == algoperf.__version__
    assert versions["numpy"] == np.__version__
    assert machine.commit()


def test_packages_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(machine, "_PACKAGES", ("numpy", "no-such-package"))
    versions = machine.versions()
    assert set(versions) == {"algoperf", "python", "numpy"}


def test_the_digest_stays_the_same_for_the_same_code(submission):
    assert machine.code_digest(submission) == machine.code_digest(submission)


@pytest.mark.parametrize("name", ["submission.py", "helper.py"])
def test_the_digest_changes_with_any_file_of_the_submission(submission, name):
    before = machine.code_digest(submission)
    (submission.parent / name).write_text("x = 2\n")
    assert machine.code_digest(submission) != before


def test_the_digest_changes_when_a_file_is_renamed(submission):
    before = machine.code_digest(submission)
    (submission.parent / "helper.py").rename(submission.parent / "helpers.py")
    assert machine.code_digest(submission) != before


def test_the_digest_does_not_depend_on_where_the_submission_lies(submission, tmp_path):
    before = machine.code_digest(submission)
    moved = submission.parent.rename(tmp_path / "moved")
    assert machine.code_digest(moved / "submission.py") == before


@pytest.mark.parametrize(
    "failure", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 10)]
)
def test_the_commit_is_unknown_where_git_cannot_tell(monkeypatch, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(subprocess, "run", fail)
    assert machine.commit() == "unknown"


def git(folder, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    result = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository that holds the package, with one commit."""
    package = tmp_path / "algoperf"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(algoperf, "__file__", str(package / "__init__.py"))
    return tmp_path


def test_the_commit_is_the_checkouts(checkout):
    assert machine.commit() == git(checkout, "rev-parse", "HEAD")


def test_changed_files_mark_the_commit(checkout):
    (checkout / "algoperf" / "__init__.py").write_text("x = 1\n")
    assert machine.commit() == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_the_commit_of_a_repository_that_merely_contains_the_package_is_not_ours(
    checkout, monkeypatch
):
    """As when the package is installed in a virtual environment inside somebody's project."""
    installed = checkout / ".venv" / "algoperf"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(algoperf, "__file__", str(installed / "__init__.py"))
    assert machine.commit() == "unknown"
