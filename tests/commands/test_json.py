"""`--json`: what commands report, for programs."""

import json

import pytest

from algoperf import cli, registry

SUBMISSION = """
def get_batch_size(workload_name): return 8
def init_optimizer_state(a, b, c, d, e): pass
def update_params(**kwargs): pass
def data_selection(a, b, c, d, e, f, g, h): pass
"""


@pytest.fixture
def asked(capsys, tmp_path):
    """What a command prints with `--json -`, and writes with `--json FILE`, as a value."""

    def ask(*words):
        cli.main([*map(str, words), "--json", "-"])
        printed = capsys.readouterr().out
        path = tmp_path / "out.json"
        cli.main([*map(str, words), "--json", str(path)])
        assert json.loads(printed) == json.loads(path.read_text())
        assert f": {path}" in capsys.readouterr().out
        return json.loads(printed, parse_constant=pytest.fail)

    return ask


def test_list(asked):
    found = asked("list", "--tier", "mini")["workloads"]
    known = registry.definitions()
    assert [item["workload"] for item in found] == [
        name for name, definition in known.items() if definition.tier == "mini"
    ]
    (digits,) = [item for item in found if item["workload"] == "mnist_mini"]
    target = known["mnist_mini"].target
    assert (digits["metric"], digits["validation_target"]) == (
        target.metric,
        target.validation,
    )


def test_draw_held_out(asked, capsys):
    words = ("draw-held-out", "--seed", "1", "--rules", "v0.5")
    found = asked(*words)["workloads"]
    assert found and cli.main(list(words)) == 0
    assert capsys.readouterr().out.split() == found


def test_check(asked, tmp_path):
    path = tmp_path / "submission.py"
    path.write_text(SUBMISSION)
    good = asked("check", path, "--static")
    assert (good["verdict"], good["problems"]) == ("ok", [])
    path.write_text(SUBMISSION.replace("return 8", "return 0"))
    bad = asked("check", path, "--static")
    assert bad["verdict"] == "not valid"
    assert any(problem.startswith("mnist: ") for problem in bad["problems"])


def test_a_file_that_can_never_be_written_is_refused_at_once(tmp_path, capsys):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "x.json"
    assert cli.main(["list", "--json", str(path)]) == 2
    assert "algoperf: error: " in capsys.readouterr().err
