"""Several folders of logs are ranked as one."""

import shutil

import pytest

from algoperf import cli
from algoperf.commands import scoring_options
from algoperf.errors import BadLogs


def test_two_folders_are_ranked_together(root, run, tmp_path, capfd):
    status, together, _ = run()
    assert status == 0
    other = tmp_path / "elsewhere"
    other.mkdir()
    moved = sorted(path for path in (root / "logs").iterdir() if path.is_dir())[0]
    shutil.move(moved, other / moved.name)
    targets = ["--targets", str(root / "targets.json")]
    words = ["score", str(root / "logs"), str(other), "--rules", "v0.5", *targets]
    assert cli.main(words) == 0
    assert capfd.readouterr().out == together


def test_a_trial_that_lies_in_both_is_refused(root):
    folder = root / "logs"
    with pytest.raises(BadLogs, match=r"are both trial .* Give each folder once"):
        scoring_options.scan_all([folder, folder])
