"""Schedule-Free AdamW: evaluations at the average, batch norm's statistics from it."""

import numpy as np
import pytest
from test_update_rules import torch_batch, torch_module
from tiny_workloads import (
    RNG,
    GivenGradientsJax,
    GivenGradientsPytorch,
    hyperparameters,
    start,
    step,
    submission,
)
from update_rule_oracles import CURVATURES, POINTS, STEP_HINT, random_problem, rule

from algoperf.reference_algorithms.schedule_free_adamw import point as constants
from algoperf.spec import ParameterType
from tests.closeness import FLOAT32_SHORT, FLOAT64, assert_close, assert_parts_close

NAME = "schedule_free_adamw"
POINT = hyperparameters(POINTS[NAME])
PARAMS, GRADIENTS = random_problem()


def oracle_points() -> tuple[list[dict], list[dict]]:
    """y and x after each step."""
    rules = {name: rule(NAME, name, value) for name, value in PARAMS.items()}
    theta, held, averages = PARAMS, [], []
    for t, given in enumerate(GRADIENTS, start=1):
        grads = {n: given[n] + CURVATURES[NAME] * theta[n] for n in theta}
        theta = {n: rules[n].update(theta[n], grads[n], t) for n in theta}
        held.append(theta)
        averages.append({n: rules[n].x for n in rules})
    return held, averages


def prepare_for_eval(module, workload, params, state, model_state=None):
    return module.prepare_for_eval(
        workload=workload,
        current_param_container=params,
        current_params_types=workload.model_params_types,
        model_state=model_state,
        hyperparameters=POINT,
        loss_type=workload.loss_type,
        optimizer_state=state,
        eval_results=[],
        global_step=0,
        rng=RNG,
    )


class Run:
    """Steps of one framework, which may be prepared for an evaluation in between."""

    def __init__(self, framework: str) -> None:
        self.framework = framework
        self.module = submission(NAME, framework)
        if framework == "jax":
            import jax

            self.workload = GivenGradientsJax(STEP_HINT)
            to_array = lambda x: jax.numpy.asarray(x, "float32")  # noqa: E731
            self.params = jax.tree.map(to_array, PARAMS)
        else:
            self.workload = GivenGradientsPytorch(STEP_HINT)
            self.params = torch_module(PARAMS, "float64")
        self.workload.curvature = CURVATURES[NAME]
        self.state = start(self.module, self.workload, self.params, POINT)

    def step(self, number: int) -> None:
        grads = GRADIENTS[number]
        if self.framework == "jax":
            grads = {name: np.float32(grad) for name, grad in grads.items()}
            batch = {"inputs": grads, "targets": None}
        else:
            batch = torch_batch(grads, "float64")
        self.state, self.params = step(
            self.module, self.workload, self.params, POINT, batch, self.state, number
        )

    def prepare_for_eval(self) -> None:
        self.state, self.params, _ = prepare_for_eval(
            self.module, self.workload, self.params, self.state
        )

    def arrays(self) -> dict[str, np.ndarray]:
        if self.framework == "jax":
            return {n: np.asarray(p) for n, p in self.params.items()}
        return {n: p.detach().numpy().copy() for n, p in self.params.named_parameters()}


@pytest.fixture(params=["jax", "pytorch"])
def run(request) -> Run:
    pytest.importorskip("jax" if request.param == "jax" else "torch")
    return Run(request.param)


def test_evaluations_see_the_average(run):
    _, averages = oracle_points()
    for number in range(5):
        run.step(number)
    run.prepare_for_eval()
    assert_parts_close(run.arrays(), averages[4], tolerance=FLOAT32_SHORT)


def test_training_goes_on_from_where_the_gradients_are_taken(run):
    held, _ = oracle_points()
    for number in range(10):
        run.step(number)
        if number % 3 == 1:
            run.prepare_for_eval()
    assert_parts_close(run.arrays(), held[9], tolerance=FLOAT32_SHORT)


def test_preparing_twice_changes_nothing(run):
    for number in range(3):
        run.step(number)
    run.prepare_for_eval()
    once = run.arrays()
    run.prepare_for_eval()
    assert_parts_close(run.arrays(), once, tolerance=FLOAT32_SHORT)


def test_a_checkpoint_of_an_evaluation_resumes_at_the_right_point(run):
    held, _ = oracle_points()
    for number in range(4):
        run.step(number)
    run.prepare_for_eval()
    resumed = Run(run.framework)
    if run.framework == "jax":
        from algoperf.jax_backend import leaves as jax_leaves

        saved = jax_leaves.to_leaves((run.state, run.params))
        template = (resumed.state, resumed.params)
        resumed.state, resumed.params = jax_leaves.from_leaves(template, *saved)
    else:
        import torch

        from algoperf.pytorch_backend import leaves

        saved = leaves.to_leaves((run.state, run.params))
        template = (resumed.state, resumed.params)
        resumed.state, resumed.params = leaves.from_leaves(
            template, *saved, device=torch.device("cpu")
        )
    for number in range(4, 8):
        resumed.step(number)
    assert_parts_close(resumed.arrays(), held[7], tolerance=FLOAT32_SHORT)


def test_pytorch_statistics_come_from_the_average_every_third_step():
    pytest.importorskip("torch")
    run = Run("pytorch")
    seen = []

    class WithBatchNorm(GivenGradientsPytorch):
        model_params_types = {  # noqa: RUF012
            **GivenGradientsPytorch.model_params_types,
            "scale": ParameterType.BATCH_NORM_SCALE,
        }

        def model_fn(self, params, *arguments, update_batch_norm, **options):
            if update_batch_norm:
                seen.append(params.kernel.detach().numpy().copy())
            return super().model_fn(
                params, *arguments, update_batch_norm=update_batch_norm, **options
            )

    run.workload = WithBatchNorm(STEP_HINT)
    run.workload.curvature = CURVATURES[NAME]
    for number in range(7):
        run.step(number)
    held, averages = oracle_points()
    expected = [PARAMS, averages[2], averages[5]]
    assert len(seen) == 3
    for kernel, average in zip(seen, expected, strict=True):
        assert_close(kernel, average["kernel"], tolerance=FLOAT64)
    assert_close(run.arrays()["kernel"], held[6]["kernel"], tolerance=FLOAT64)


def test_jax_statistics_come_from_the_average_every_third_step():
    pytest.importorskip("jax")
    run = Run("jax")

    class WithStatistics(GivenGradientsJax):
        """The model state is the kernel that last updated the statistics."""

        def model_fn(self, params, batch, model_state, *rest, **options):
            logits, _ = super().model_fn(params, batch, model_state, *rest, **options)
            updates = options["update_batch_norm"]
            return logits, {"seen": params["kernel"]} if updates else model_state

    workload = WithStatistics(STEP_HINT)
    workload.curvature = CURVATURES[NAME]
    state, params = start(run.module, workload, run.params, POINT), run.params
    model_state = {"seen": np.zeros((4, 3), np.float32)}
    seen = []
    for number in range(7):
        grads = {name: np.float32(grad) for name, grad in GRADIENTS[number].items()}
        state, params, model_state = run.module.update_params(
            workload=workload,
            current_param_container=params,
            current_params_types={},
            model_state=model_state,
            hyperparameters=POINT,
            batch={"inputs": grads, "targets": None},
            loss_type=workload.loss_type,
            optimizer_state=state,
            eval_results=[],
            global_step=number,
            rng=RNG,
        )
        seen.append(np.asarray(model_state["seen"]))
    _, averages = oracle_points()
    expected = [PARAMS] * 3 + [averages[2]] * 3 + [averages[5]]
    for kernel, average in zip(seen, expected, strict=True):
        assert_close(kernel, average["kernel"], tolerance=FLOAT32_SHORT)


def test_batch_sizes_differ_from_the_baselines_in_three_workloads():
    sizes = {"fastmri": 16, "librispeech_conformer": 224, "librispeech_deepspeech": 128}
    assert {name: constants.get_batch_size(name) for name in sizes} == sizes
    assert constants.get_batch_size("ogbg") == 512


def test_unknown_batch_size_is_a_value_error():
    with pytest.raises(ValueError, match="wmt_post_ln"):
        constants.get_batch_size("wmt_post_ln")


def test_rate_warms_up_over_its_share_of_three_quarters_of_the_hint():
    rate = constants.WarmupConstant.of(
        hyperparameters({"learning_rate": 0.4, "warmup_factor": 0.02}), 1000
    )
    assert rate.num_warmup_steps == 15
    assert rate(0) == pytest.approx(0.4 / 15)
    assert rate(14) == rate(15) == rate(10_000) == 0.4


def test_a_short_run_has_no_warmup():
    rate = constants.WarmupConstant.of(
        hyperparameters({"learning_rate": 0.4, "warmup_factor": 0.02}), 10
    )
    assert rate(0) == 0.4
