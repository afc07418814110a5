"""Instruments on the toy benchmark: what they write, and that they change nothing."""

import json
import textwrap

import numpy as np
import pytest

from algoperf import instrument_logs, logs
from algoperf.errors import BadLogs, BadSettings, UnknownName
from algoperf.instruments import configurations
from algoperf.instruments.alpha import End, alpha
from algoperf.runner import cockpit, experiment

STEPS = 12


@pytest.fixture
def run(toy):
    """Runs a trial with settings of its own; returns its folder."""

    def start(name="plain", *, ends_well=True, **changes):
        settings = toy(
            experiment_name=name,
            num_trials=1,
            workload="blobs_never",
            max_global_steps=STEPS,
            eval_period_steps=4,
            **changes,
        )
        assert experiment.run(settings) == ends_well
        (trial,) = logs.read(settings.experiment_dir / name)
        return trial.folder

    return start


def evaluations(folder):
    """The logged metrics, without seconds."""
    trial = logs.read_trial(logs.TrialId("x", 1, "blobs", "toy", 1), folder)
    return {k: v.tolist() for k, v in trial.columns.items() if "/" in k}


def test_an_instrumented_run_is_the_same_run(run):
    plain = run()
    measured = run("measured", cockpit="full", cockpit_every="1")
    assert evaluations(measured) == evaluations(plain)
    assert not instrument_logs.has_instruments(plain)
    found = instrument_logs.read(measured)
    assert sorted(found.steps) == list(range(STEPS))
    assert found.refused == {}


def test_every_quantity_of_a_configuration_is_written_at_every_step(run):
    found = instrument_logs.read(run(cockpit="full", cockpit_every="1"))
    names = set(configurations.quantities("full"))
    for step in range(STEPS - 1):
        assert set(found.steps[step]) == names
    # The last step's end would have been seen at the next one.
    assert set(found.steps[STEPS - 1]) == names - {"Alpha"}


def test_all_other_quantities_are_written_too(run):
    others = "CABS,EarlyStopping,MeanGSNR,Parameters,TICTrace,Time"
    found = instrument_logs.read(run(cockpit=others, cockpit_every="4"))
    assert sorted(found.steps) == [0, 4, 8]
    measured = {"MeanGSNR", "Parameters", "TICTrace", "Time"}
    assert set(found.steps[4]) == measured
    # The toy's optimizer adds noise: its steps are not those of plain SGD.
    assert set(found.refused) == {"CABS", "EarlyStopping"}
    assert "plain SGD" in found.refused["CABS"]


def test_light_and_economy_agree_on_what_both_measure(run):
    economy = instrument_logs.read(run("a", cockpit="economy", cockpit_every="1"))
    light = instrument_logs.read(run("b", cockpit="light", cockpit_every="1"))
    for step in range(STEPS):
        for name, value in light.steps[step].items():
            assert value == pytest.approx(economy.steps[step][name], rel=1e-5)


def test_alpha_is_that_of_the_step_and_the_next_batch(run):
    folder = run(cockpit="Alpha,Parameters,UpdateSize,Loss", cockpit_every="1")
    found = instrument_logs.read(folder)
    batches = [_batch(folder, step) for step in range(3)]
    thetas = [_vector(found.steps[step]["Parameters"]) for step in range(3)]
    for step in range(2):
        update = thetas[step + 1] - thetas[step]
        length = float(np.linalg.norm(update))
        size = np.linalg.norm(found.steps[step]["UpdateSize"])
        assert size == pytest.approx(length, rel=1e-9)
        ends = [
            _end(thetas[at], batches[at], update / length) for at in (step, step + 1)
        ]
        expected = alpha(length, *ends)
        assert found.steps[step]["Alpha"] == pytest.approx(expected, rel=1e-6)


def _batch(folder, step):
    import toy_workload

    from algoperf.pipeline import DataRequest
    from algoperf.runner.randomness import seed_for

    meta = json.loads((folder / "meta_data_0.json").read_text())
    request = DataRequest(
        folder=folder,
        split="train",
        splits=toy_workload.SPLITS,
        batch_size=meta["batch_size"],
        seed=seed_for(meta["seed"], "data"),
    )
    return toy_workload.open_batches(request).batch(step)


def _vector(parameters):
    return np.concatenate([parameters["weight"], parameters["bias"]])


def _end(theta, batch, unit):
    losses, grads = _examples(theta, batch)
    return End.of(losses, grads @ unit)


def _examples(theta, batch):
    """Losses and gradients of single examples."""
    inputs, labels = batch["inputs"], batch["targets"]
    weight, bias = theta[:-2].reshape(-1, 2), theta[-2:]
    logits = inputs @ weight + bias
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(chances[np.arange(len(labels)), labels])
    errors = chances - np.eye(2)[labels]
    grads = np.concatenate(
        [(inputs[:, :, None] * errors[:, None]).reshape(len(labels), -1), errors], 1
    )
    return losses, grads


@pytest.mark.parametrize("adapt_bins", [None, "1"])
def test_a_resumed_trial_measures_what_a_whole_one_does(run, toy, adapt_bins):
    more = {"cockpit_every": "1", "cockpit_adapt_bins": adapt_bins}
    whole = instrument_logs.read(run("whole", cockpit="full", **more))
    settings = {
        "experiment_name": "cut",
        "num_trials": 1,
        "workload": "blobs_never",
        "eval_period_steps": 4,
        "cockpit": "full",
        **more,
    }
    assert experiment.run(toy(**settings, max_global_steps=6))
    (trial,) = logs.read(toy(**settings).experiment_dir / "cut")
    (trial.folder / "outcome.json").unlink()  # as if it had been killed
    assert experiment.run(toy(**settings, max_global_steps=STEPS, on_existing="resume"))
    resumed = instrument_logs.read(trial.folder)
    assert len(resumed.headers) == 2
    assert resumed.steps == whole.steps


def test_ranges_of_histograms_follow_the_largest_elements(run):
    names = "GradHist1d,GradHist2d,Parameters"
    folder = run(cockpit=names, cockpit_every="1", cockpit_adapt_bins="2")
    found = instrument_logs.read(folder)
    bins = [found.steps[step]["GradHist1d"]["bins"] for step in range(4)]
    pairs = [found.steps[step]["GradHist2d"]["bins"] for step in range(4)]
    assert bins[0] == [100, -2, 2] and pairs[0] == [[40, -1, 1], [50, -2, 2]]
    largest = []
    for step in (0, 2):
        theta = _vector(found.steps[step]["Parameters"])
        _, grads = _examples(theta, _batch(folder, step))
        largest.append((np.abs(grads).max(), np.abs(theta).max()))
    for step, (gradient, parameter) in zip((1, 3), largest, strict=True):
        assert bins[step] == pytest.approx([100, -gradient, gradient])
        by_gradient, by_parameter = pairs[step]
        assert by_gradient == pytest.approx([40, -gradient, gradient])
        assert by_parameter == pytest.approx([50, -parameter, parameter])
    assert bins[2] == bins[1] and pairs[2] == pairs[1]


def test_alpha_is_refused_where_an_evaluation_replaces_the_parameters(run, toy):
    averaging = toy().submission_path.read_text() + textwrap.dedent(
        """
        def prepare_for_eval(
            workload, current_param_container, current_params_types, model_state,
            hyperparameters, loss_type, optimizer_state, eval_results, global_step, rng,
        ):
            halved = {n: 0.5 * x for n, x in current_param_container.items()}
            return optimizer_state, halved, model_state
        """
    )
    path = toy().experiment_dir.parent / "averaging.py"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(averaging)
    changes = {"submission_path": path, "cockpit": "light", "cockpit_every": "1"}
    found = instrument_logs.read(run("averaging", **changes))
    evaluated_after = {s for s in range(STEPS - 1) if "Alpha" not in found.steps[s]}
    # An evaluation follows the first step, and every fourth one.
    assert evaluated_after and len(evaluated_after) < STEPS - 1
    assert "prepare_for_eval" in found.refused["Alpha"]
    plain = instrument_logs.read(run("plain", cockpit="light", cockpit_every="1"))
    assert "Alpha" not in plain.refused


def test_a_run_may_gain_and_lose_instruments(run, toy):
    settings = {
        "experiment_name": "gain",
        "num_trials": 1,
        "workload": "blobs_never",
        "eval_period_steps": 4,
    }
    assert experiment.run(toy(**settings, max_global_steps=5))
    (trial,) = logs.read(toy(**settings).experiment_dir / "gain")
    (trial.folder / "outcome.json").unlink()
    more = {"cockpit": "light", "cockpit_every": "1", "on_existing": "resume"}
    assert experiment.run(toy(**settings, **more, max_global_steps=STEPS))
    assert min(instrument_logs.read(trial.folder).steps) == 5


def test_the_header_says_how_it_was_measured(run):
    header = instrument_logs.read(run(cockpit="Loss", cockpit_every="log:0,1")).header
    assert header["quantities"] == ["Loss"]
    assert header["parameters"] == {"weight": [4, 2], "bias": [2]}
    assert "10^0 to 10^1" in header["schedule"]
    assert {"batch_norm", "dropout", "weight_decay", "weights", "devices"} <= set(
        header
    )


def test_what_is_measured_takes_none_of_the_submissions_time(run):
    folder = run(cockpit="full", cockpit_every="1")
    found = instrument_logs.read(folder)
    assert all(spent["all"] > 0 for spent in found.microseconds.values())
    outcome = json.loads((folder / "outcome.json").read_text())
    seconds = json.dumps(outcome)
    assert "instruments" in seconds


def test_a_misspelt_configuration_or_schedule_is_refused(toy):
    with pytest.raises(UnknownName, match="economy"):
        cockpit.plan_of(toy(cockpit="econmy"))
    with pytest.raises(BadSettings, match="log:0,5,200"):
        cockpit.plan_of(toy(cockpit="economy", cockpit_every="often"))
    with pytest.raises(UnknownName, match="hutchinson"):
        cockpit.plan_of(toy(cockpit="economy", cockpit_curvature="hutchison"))
    assert cockpit.plan_of(toy()) is None


def test_a_step_to_nowhere_has_no_alpha(run, written):
    lost = written("if global_step == 2: params['bias'] = params['bias'] * np.nan")
    changes = {"submission_path": lost, "cockpit": "full", "cockpit_every": "1"}
    folder = run("lost", ends_well=False, **changes)
    found = instrument_logs.read(folder)
    assert found.steps[2]["Alpha"] is None and found.steps[3]["Alpha"] is None
    assert isinstance(found.steps[0]["Alpha"], float)
    # What is not a number stays none.
    assert all(np.isnan(float(x)) for x in found.steps[3]["GradNorm"])
    assert np.isnan(float(found.steps[3]["HessMaxEV"]))


def test_parameters_that_are_not_the_models_are_the_submissions_fault(toy, written):
    wrong = written("params['bias'] = np.zeros(5)")
    settings = toy(
        submission_path=wrong,
        experiment_name="wrong",
        num_trials=1,
        max_global_steps=3,
        cockpit="light",
        cockpit_every="1",
    )
    assert not experiment.run(settings)
    (trial,) = logs.read(settings.experiment_dir / "wrong")
    assert trial.outcome is logs.Outcome.SUBMISSION_CRASHED
    assert "update_params" in trial.reason and "shapes" in trial.reason


def test_a_damaged_file_is_refused_by_line(run):
    folder = run(cockpit="Loss", cockpit_every="1")
    path = folder / instrument_logs.FILE
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{nonsense", *lines[1:], ""]))
    with pytest.raises(BadLogs, match="Line 2"):
        instrument_logs.read(folder)


def test_a_line_that_is_being_written_is_passed_over(run):
    folder = run(cockpit="Loss", cockpit_every="1")
    path = folder / instrument_logs.FILE
    path.write_text(path.read_text()[:-5])
    assert len(instrument_logs.read(folder).steps) == STEPS - 1
