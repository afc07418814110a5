"""Self-tuning NadamW: successive halving on the clock."""

import importlib
import json

import numpy as np
import pytest
from test_training_step import arrays_of, softmax_problem
from tiny_workloads import hyperparameters, start, step

from algoperf import registry
from algoperf.reference_algorithms.nadamw.halving import Bracket, candidates, schedule
from tests.closeness import FLOAT32_SHORT, assert_parts_close

STEP_HINT = 100  # turns of 3 steps
NUM_TUNING_STEPS = 6 * 3


def module_of(framework: str):
    pytest.importorskip("jax" if framework == "jax" else "torch")
    name = "algoperf.reference_algorithms.nadamw.submission_halving"
    return importlib.import_module(f"{name}_{framework}")


def test_candidates_are_the_published_points_that_differ_in_the_rule():
    path = registry.wing_folder("reference_algorithms") / "nadamw" / "optlist.json"
    rates = [point["learning_rate"] for point in json.loads(path.read_text())]
    assert {point.learning_rate for point in candidates()} == set(rates)


def turns(bracket: Bracket, scores: dict[int, float], num_steps: int) -> list[int]:
    """Who took each step."""
    took = []
    for _ in range(num_steps):
        took.append(bracket.current)
        if bracket.count_step():
            bracket.next_turn(lambda left: [scores[i] for i in left])
    return took


def test_the_better_half_goes_on_until_one_is_left():
    scores = {0: 2.0, 1: 1.0, 2: 4.0, 3: 3.0}
    took = turns(Bracket(turn_steps=2), scores, 15)
    assert took == [0, 0, 1, 1, 2, 2, 3, 3, 1, 1, 0, 0, 1, 1, 1]


def test_a_candidate_that_diverges_is_worst():
    scores = {0: float("nan"), 1: float("inf"), 2: 5.0, 3: 6.0}
    assert turns(Bracket(turn_steps=1), scores, 7)[4:] == [2, 3, 2]


def test_only_the_second_half_of_a_turn_is_scored():
    bracket = Bracket(turn_steps=4)
    scored = []
    for _ in range(4):
        scored.append(bracket.is_scored)
        bracket.count_step()
    assert scored == [False, False, True, True]


def test_the_winners_rate_ends_at_the_step_hint():
    own_steps = STEP_HINT - 4 * 3
    assert schedule(1.0, STEP_HINT)(own_steps) == pytest.approx(0.0, abs=1e-9)
    assert schedule(1.0, STEP_HINT)(own_steps - 10) > 0.01


class Run:
    """Steps of one framework."""

    def __init__(self, framework: str) -> None:
        self.module = module_of(framework)
        self.workload, self.params, self.batch = softmax_problem(framework)
        self.workload.step_hint = STEP_HINT
        self.state = start(self.module, self.workload, self.params, None)
        self.number = 1

    @property
    def bracket(self) -> Bracket:
        state = self.state[0] if isinstance(self.state, tuple) else self.state
        return state.bracket

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.state, self.params = step(
                self.module,
                self.workload,
                self.params,
                None,
                self.batch,
                self.state,
                self.number,
            )
            self.number += 1

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: np.array(x) for name, x in arrays_of(self.params).items()}


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_every_candidate_starts_from_the_initial_parameters(framework):
    run = Run(framework)
    initial = run.arrays()
    for _ in range(3):
        run.steps(2)
        assert any((run.arrays()[name] != initial[name]).any() for name in initial)
        run.steps(1)  # the last of a turn: the next candidate's parameters come in
        for name, value in run.arrays().items():
            np.testing.assert_array_equal(value, initial[name])


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_fastest_candidate_wins_and_trains_on(framework):
    run = Run(framework)
    run.steps(NUM_TUNING_STEPS)
    assert run.bracket.is_decided
    # All decrease this loss; the one with the largest rate fastest.
    rates = [point.learning_rate for point in candidates()]
    assert run.bracket.current == int(np.argmax(rates))
    before = run.arrays()
    run.steps(3)
    assert (run.arrays()["kernel"] != before["kernel"]).any()


def test_frameworks_agree():
    runs = {name: Run(name) for name in ("jax", "pytorch")}
    for run in runs.values():
        run.steps(NUM_TUNING_STEPS + 5)
    assert runs["jax"].bracket == runs["pytorch"].bracket
    assert_parts_close(
        runs["jax"].arrays(), runs["pytorch"].arrays(), tolerance=10 * FLOAT32_SHORT
    )


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_winner_is_nadamw_at_its_point(framework):
    """As if the others had never been, but for the schedule, which knows of them."""
    run = Run(framework)
    run.steps(NUM_TUNING_STEPS + 5)
    num_own_steps = 2 * 3 + 5
    winner = candidates()[run.bracket.current]
    own = Run.__new__(Run)
    own.module = importlib.import_module(
        f"algoperf.reference_algorithms.nadamw.submission_{framework}"
    )
    own.workload, own.params, own.batch = softmax_problem(framework)
    own.workload.step_hint = STEP_HINT - 4 * 3
    point = {**winner._asdict(), "warmup_factor": 0.02}
    point |= {"dropout_rate": 0.1, "label_smoothing": 0.0}
    state = start(own.module, own.workload, own.params, hyperparameters(point))
    for number in range(1, num_own_steps + 1):
        state, own.params = step(
            own.module,
            own.workload,
            own.params,
            hyperparameters(point),
            own.batch,
            state,
            number,
        )
    assert_parts_close(run.arrays(), own.arrays(), tolerance=FLOAT32_SHORT)


@pytest.mark.parametrize("num_steps", [4, 13, NUM_TUNING_STEPS + 2])
def test_jax_continues_from_a_checkpoints_leaves(num_steps):
    pytest.importorskip("jax")
    from algoperf.jax_backend import leaves

    run, other = Run("jax"), Run("jax")
    run.steps(num_steps)
    saved = leaves.to_leaves((run.state, run.params))
    run.steps(9)
    other.state, other.params = leaves.from_leaves((other.state, other.params), *saved)
    other.number = num_steps + 1
    other.steps(9)
    assert run.bracket == other.bracket
    np.testing.assert_array_equal(run.arrays()["kernel"], other.arrays()["kernel"])


@pytest.mark.parametrize("num_steps", [4, 13, NUM_TUNING_STEPS + 2])
def test_pytorch_continues_from_a_checkpoints_leaves(num_steps):
    torch = pytest.importorskip("torch")
    from algoperf.pytorch_backend import leaves

    run, other = Run("pytorch"), Run("pytorch")
    run.steps(num_steps)
    saved = leaves.to_leaves({"state": run.state, "model": run.params})
    run.steps(9)
    template = {"state": other.state, "model": other.params}
    restored = leaves.from_leaves(template, *saved, torch.device("cpu"))
    other.state, other.params = restored["state"], restored["model"]
    other.number = num_steps + 1
    other.steps(9)
    assert run.bracket == other.bracket
    np.testing.assert_array_equal(run.arrays()["kernel"], other.arrays()["kernel"])
