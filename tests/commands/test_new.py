"""`algoperf new`: the template, wherever it was installed from."""

from pathlib import Path

import pytest

from algoperf import cli

TEMPLATE = Path(__file__).parents[2] / "submissions" / "template"


def test_the_template_is_copied_and_the_next_commands_are_named(tmp_path, capsys):
    folder = tmp_path / "deep" / "mine"
    assert cli.main(["new", str(folder)]) == 0
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    wanted = {p.name: p.read_bytes() for p in TEMPLATE.iterdir() if p.is_file()}
    assert found == wanted
    out = capsys.readouterr().out
    assert f"algoperf check {folder / 'submission.py'}" in out
    assert f"algoperf run {folder / 'submission.py'} --workload mnist_mini" in out


def test_one_framework_gets_its_file_alone(tmp_path, capsys):
    assert cli.main(["new", str(tmp_path / "mine"), "--framework", "pytorch"]) == 0
    names = sorted(path.name for path in (tmp_path / "mine").iterdir())
    assert names == [
        "submission.toml",
        "submission_pytorch.py",
        "tuning_search_space.json",
    ]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_exists_is_not_written_to(tmp_path, capsys, make):
    folder = tmp_path / "mine"
    make(folder)
    if folder.is_dir():
        (folder / "notes.txt").write_text("mine")
    assert cli.main(["new", str(folder)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not (folder / "submission.py").exists()


def test_an_unknown_framework_makes_no_directory(tmp_path, capsys):
    assert cli.main(["new", str(tmp_path / "mine"), "--framework", "jaxx"]) == 2
    assert "Did you mean 'jax'?" in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()
