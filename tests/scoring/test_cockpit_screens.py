"""Screens of instruments from made records: what stands where, and what is refused."""

import json
import threading
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from algoperf import cli, instrument_logs, logs
from algoperf.errors import BadLogs
from algoperf.evaluations import EvaluationRow
from algoperf.instrument_logs import InstrumentLog
from algoperf.scoring.cockpit import dials, page, record, screen, server, terminal
from algoperf.scoring.cockpit.record import Series
from algoperf.scoring.cockpit.scales import LogScale, compact
from algoperf.trial_meta import TrialMeta

HEADER = {
    "configuration": "full",
    "quantities": ["Alpha", "Loss", "NormTest"],
    "schedule": "every 2 steps",
    "parameters": {"w": [3], "b": [1]},
    "devices": {"framework": "toy"},
}


def values_at(step):
    return {
        "Loss": 2.0 / (step + 1),
        "Alpha": -1.2 + 0.05 * step,
        "GradNorm": [3.0, 4.0],
        "Distance": [0.1 * step, 0.0],
        "UpdateSize": [0.1, 0.1],
        "NormTest": 1.0,
        "InnerTest": 0.6,
        "OrthoTest": 0.8,
        "HessTrace": [1.0, 2.0],
        "HessMaxEV": -5.0 - step,
        "TICDiag": 10.0 ** (step % 7),
        "GradHist1d": {"counts": [2, *[0] * 97, 5, 3], "bins": [100, -2, 2]},
        "GradHist2d": {
            "counts": np.eye(40, 50, dtype=int).tolist(),
            "bins": [[40, -1, 1], [50, -2, 2]],
        },
    }


@pytest.fixture
def folder(tmp_path):
    """A trial with instruments, two evaluations and a logged learning rate."""
    place = tmp_path / "evil <b>&" / "study_1" / "blobs_toy" / "trial_1"
    place.mkdir(parents=True)
    log = logs.TrialLog(place)
    target = {"metric": "accuracy", "better": "higher", "validation": 1, "test": 1}
    meta = {
        "workload": "blobs",
        "framework": "toy",
        "ruleset": "v0.5",
        "target": target,
    }
    log.start(TrialMeta.from_json(meta), {}, {"learning_rate": 0.5})
    for step in (1, 40):
        log.append_scalar_metrics({"learning_rate": 0.5 / step}, step)
        metrics = {"train/accuracy": 0.5, "validation/accuracy": 0.4}
        row = EvaluationRow(step, 1.0, 1.0, 1.0, 1.0, 5.0, metrics)
        log.add_evaluation(row)
    instruments = InstrumentLog(place, HEADER, 0)
    for step in range(0, 40, 2):
        instruments.add(step, step, values_at(step), microseconds={"all": 5})
    instruments.add(40, 40, {"Loss": float("nan")}, refused={"CABS": "not plain <SGD>"})
    instruments.close()
    return place


def test_a_page_is_well_formed_and_shows_every_instrument(folder):
    text = page.render(record.load(folder))
    body = text[text.index("<body>") : text.index("</body>") + 7]
    # Void elements stand in the head alone.
    root = ElementTree.fromstring(body)
    titles = [e.text for e in root.iter("figcaption")]
    assert len(titles) == 11
    assert "not measured" not in body and "refused" not in body.split("</header>")[1]
    for panel in ("Step size", "Gradients", "Curvature", "Training"):
        assert f">{panel}</h2>" in text


def test_names_from_logs_are_escaped(folder):
    text = page.render(record.load(folder))
    assert "evil &lt;b&gt;&amp;" in text and "evil <b>" not in text
    assert "not plain &lt;SGD&gt;" in text


def test_a_page_asks_for_nothing_and_runs_no_script(folder):
    text = page.render(record.load(folder))
    assert "default-src 'none'" in text
    for word in ("<script", "src=", "href=", "http:", "https:", "style="):
        assert word not in text.replace("style-src", "")


def test_a_page_refreshes_only_when_told(folder):
    shown = record.load(folder)
    assert 'http-equiv="refresh"' not in page.render(shown)
    assert 'content="5"' in page.render(shown, refresh_seconds=5)


def test_what_was_not_measured_leaves_its_place_empty_and_says_why(folder):
    path = folder / instrument_logs.FILE
    lines = path.read_text().splitlines()
    light = [lines[0]]
    light += [
        '{"step":0,"at":0,"values":{"Loss":1},"refused":{"NormTest":"coupled, so"}}'
    ]
    path.write_text("\n".join([*light, ""]))
    shown = record.load(folder)
    assert (
        "HessTrace was not requested"
        in dials.time_series(shown, "HessTrace", "Trace").description
    )
    assert "no value yet" in dials.alphas(shown).description
    assert "refused: coupled" in dials.time_series(shown, "NormTest", "N").description
    page.render(shown)
    terminal.text(shown)


@pytest.mark.parametrize("number", ["NaN", "inf", "-inf", None])
def test_values_that_are_not_finite_break_no_screen(folder, number):
    path = folder / instrument_logs.FILE
    values = {**values_at(3), **dict.fromkeys(("Alpha", "Loss", "NormTest"), number)}
    line = json.dumps({"step": 50, "at": 50, "values": values})
    path.write_text(path.read_text() + line + "\n")
    shown = record.load(folder)
    page.render(shown)
    assert "Loss" in terminal.text(shown)


def test_a_trial_of_one_step_can_be_shown(folder):
    path = folder / instrument_logs.FILE
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    page.render(record.load(folder))


def test_a_trial_that_has_just_begun_can_be_shown(folder):
    path = folder / instrument_logs.FILE
    path.write_text(path.read_text().splitlines()[0] + "\n")
    shown = record.load(folder)
    assert ("Last measured step", "none yet") in screen.facts(shown)
    page.render(shown)
    terminal.text(shown)


def test_lists_are_combined_by_root_of_squares_and_traces_by_sum(folder):
    shown = record.load(folder)
    assert shown.series("GradNorm").values[0] == 5
    assert shown.series("HessTrace").values[0] == 3


def test_a_moving_average_passes_over_what_is_not_finite():
    series = Series(np.arange(4), np.array([1.0, np.nan, 2.0, 2.0]))
    assert series.average() == pytest.approx([1.0, 1.0, 1.2, 1.36])
    assert len(series.recent()) == 1


def test_a_logarithmic_scale_has_powers_of_ten():
    scale = LogScale(0.5, 2e4, 0.0, 100.0)
    assert scale.ticks(5) == [1, 10, 100, 1_000, 10_000]
    assert scale.at(0.5) == 0 and scale.at(2e4) == 100
    assert compact(1_000_000) == "1e6" and compact(1_000) == "1000"


def test_the_command_prints_and_writes(folder, tmp_path, capsys):
    top = str(folder.parents[2])
    assert cli.main(["cockpit", top]) == 0
    printed = capsys.readouterr().out
    assert "HessMaxEV" in printed and "in the end bins" in printed
    path = tmp_path / "page.html"
    assert cli.main(["cockpit", str(folder), "--html", str(path)]) == 0
    assert path.read_text().startswith("<!DOCTYPE html>")
    capsys.readouterr()
    assert cli.main(["cockpit", str(folder), "--json", "-"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert steps and all("HessMaxEV" in step["values"] for step in steps[:1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--serve", "--html", "x.html"], "leave --html"),
        (["--port", "99999", "--serve"], "65,535"),
        (["--port", "80"], "give both"),
        (["--json", "-", "--follow"], "--json writes once"),
        (["--interval", "0"], "above 0"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, arguments, words, capsys):
    assert cli.main(["cockpit", str(folder), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_trials_without_instruments_are_named(folder, tmp_path, capsys):
    (folder / instrument_logs.FILE).unlink()
    with pytest.raises(BadLogs, match="--cockpit economy"):
        record.choose(tmp_path)


def test_several_trials_are_listed(folder, tmp_path):
    second = folder.with_name("trial_2")
    second.mkdir()
    (second / instrument_logs.FILE).write_text(
        (folder / instrument_logs.FILE).read_text()
    )
    with pytest.raises(BadLogs, match="trial_2"):
        record.choose(tmp_path)


@pytest.fixture
def served():
    made = server.Server(lambda: "<p>instruments</p>")
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.close()
    thread.join()


def status_of(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_server_answers_whoever_knows_the_token(served):
    assert served.url.startswith("http://127.0.0.1:")
    assert status_of(served.url) == (200, "<p>instruments</p>")


def test_the_server_refuses_a_wrong_token_path_and_host(served):
    root, _, _ = served.url.partition("?")
    assert status_of(root)[0] == 403
    assert status_of(f"{root}?token=guess")[0] == 403
    assert status_of(f"{root}?token=%C3%A9")[0] == 403
    assert status_of(served.url.replace("/?", "/etc?"))[0] == 404
    # A page of somebody else's, whose name leads to this machine.
    assert status_of(served.url, Host="evil.example")[0] == 403
