"""Binding a model file: parameters, types, forward passes, evaluation."""

import types

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
from flax import linen as nn  # noqa: E402

from algoperf import spec  # noqa: E402
from algoperf.errors import AlgoPerfError  # noqa: E402
from algoperf.jax_backend import make_backend  # noqa: E402
from algoperf.spec import ForwardPassMode, ParameterType  # noqa: E402
from tests import oracles_losses as oracles  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402
from tests.jax_backend import tiny_model  # noqa: E402

TRAIN, EVAL = ForwardPassMode.TRAIN, ForwardPassMode.EVAL
KEY = np.array([0, 7], np.uint32)
NO_BATCH_NORM = tiny_model.definition(tiny_model.Config(batch_norm=False))


def bind(definition=None, model=tiny_model, precision="float32"):
    backend = make_backend(precision=precision)
    return backend.bind(
        definition or tiny_model.definition(), model, tiny_model.Metrics
    )


def model_file(**functions):
    defaults = {"build": tiny_model.build, "example_batch": tiny_model.example_batch}
    return types.SimpleNamespace(**{**defaults, **functions})


@pytest.fixture(scope="module")
def bound():
    return bind()


@pytest.fixture(scope="module")
def variables(bound):
    return bound.init(KEY)


def forward(bound, variables, mode, *, update=True, rate=0.0, rng=KEY):
    params, state = variables
    batch = tiny_model.batch()
    return bound.forward(params, batch, state, mode, rng, update, rate)


def test_parameters_and_state_are_plain_replicated_dicts(variables):
    params, state = variables
    assert type(params) is dict and type(params["head"]) is dict
    assert set(state) == {"batch_stats"}
    for leaf in jax.tree.leaves(variables):
        assert isinstance(leaf, jax.Array) and leaf.sharding.is_fully_replicated


def test_shapes_and_types_have_the_structure_of_the_parameters(bound, variables):
    params, _ = variables
    shapes = jax.tree.map(lambda x: spec.ShapeTuple(x.shape), params)
    assert bound.param_shapes == shapes
    assert bound.param_types == {
        "Dense_0": {"kernel": ParameterType.WEIGHT, "bias": ParameterType.BIAS},
        "BatchNorm_0": {
            "scale": ParameterType.BATCH_NORM_SCALE,
            "bias": ParameterType.BATCH_NORM_BIAS,
        },
        "head": {"kernel": ParameterType.WEIGHT, "bias": ParameterType.BIAS},
    }


def test_initialisation_depends_only_on_the_key(bound, variables):
    again, _ = bound.init(KEY)
    other, _ = bound.init(np.array([0, 8], np.uint32))
    kernel = variables[0]["head"]["kernel"]
    np.testing.assert_array_equal(again["head"]["kernel"], kernel)
    assert not np.array_equal(other["head"]["kernel"], kernel)


def test_a_model_without_other_collections_has_an_empty_state():
    _, state = bind(NO_BATCH_NORM).init(KEY)
    assert state == {}


def test_a_parameter_without_a_type_is_an_error_that_names_it():
    model = model_file(build=lambda config: Untyped())
    with pytest.raises(AlgoPerfError, match=r"inner/bias .*layers\.typed"):
        bind(model=model)


class Untyped(nn.Module):
    """A model that uses Flax's own layer."""

    @nn.compact
    def __call__(self, x, *, train, dropout_rate):
        return nn.Dense(3, name="inner")(x)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("head", True),
        ("head/kernel", True),
        ("head.bias", True),
        ("['head']['bias']", True),
        ("Dense_0", False),
        ("Dense_0/kernel", False),
        ("kernel", False),
        ("missing", False),
        ("", False),
    ],
)
def test_output_parameters_are_found_by_name_or_path(bound, key, expected):
    assert bound.is_output_param(key) is expected


def test_training_updates_running_statistics_unless_told_not_to(bound, variables):
    state = variables[1]
    logits, updated = forward(bound, variables, TRAIN, update=True)
    same_logits, kept = forward(bound, variables, TRAIN, update=False)
    old_mean = state["batch_stats"]["BatchNorm_0"]["mean"]
    assert not np.array_equal(updated["batch_stats"]["BatchNorm_0"]["mean"], old_mean)
    assert kept is state
    np.testing.assert_array_equal(logits, same_logits)


def test_evaluation_uses_running_statistics_and_keeps_them(bound, variables):
    training, _ = forward(bound, variables, TRAIN)
    evaluation, state = forward(bound, variables, EVAL, rng=None)
    assert state is variables[1]
    assert not np.allclose(training, evaluation)


def test_dropout_follows_the_rate_and_the_key_in_training_only(bound, variables):
    plain, _ = forward(bound, variables, TRAIN, rate=0.0)
    dropped, _ = forward(bound, variables, TRAIN, rate=0.5)
    other, _ = forward(
        bound, variables, TRAIN, rate=0.5, rng=np.array([1, 1], np.uint32)
    )
    evaluated, _ = forward(bound, variables, EVAL, rate=0.5)
    undropped, _ = forward(bound, variables, EVAL, rate=0.0)
    assert not np.allclose(plain, dropped) and not np.allclose(dropped, other)
    np.testing.assert_array_equal(evaluated, undropped)


def test_a_step_compiles_once_for_all_dropout_rates(bound, variables):
    num_traces = 0

    @jax.jit
    def gradient(params, state, batch, rng, rate):
        nonlocal num_traces
        num_traces += 1

        def mean_loss(params):
            logits, new_state = bound.forward(
                params, batch, state, TRAIN, rng, True, rate
            )
            loss = bound.loss(batch["targets"], logits, batch["weights"], 0.1)
            return loss["summed"] / loss["n_valid_examples"], new_state

        return jax.grad(mean_loss, has_aux=True)(params)

    for rate in (0.0, 0.1, 0.3):
        gradients, _ = gradient(*variables, tiny_model.batch(), KEY, rate)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert num_traces == 1


def test_evaluate_gives_masked_losses_and_the_metric_outputs_in_numpy(bound, variables):
    batch = tiny_model.batch()
    outputs, _ = bound.evaluate(*variables, make_backend().place(batch))
    logits, _ = forward(bound, variables, EVAL, rng=None)
    expected = oracles.softmax_cross_entropy(batch["targets"], logits, batch["weights"])
    assert all(type(value) is np.ndarray for value in outputs.values())
    assert_close(outputs["loss"], expected["per_example"], tolerance=FLOAT32_SHORT)
    assert set(outputs) == {"loss", "correct"}


def test_a_model_file_may_replace_forward_and_outputs():
    def forward_(module, variables, batch, context):
        rate = context.dropout_rate
        logits = module.apply(
            variables, batch["inputs"], train=False, dropout_rate=rate
        )
        return 2 * logits, {"batch_stats": "new"}

    def outputs(module, variables, batch, context):
        return {"total": batch["inputs"].sum(keepdims=True)}

    plain = bind()
    model = model_file(forward=forward_, outputs=outputs)
    bound = bind(model=model)
    variables = bound.init(KEY)
    doubled, state = forward(bound, variables, TRAIN)
    expected, _ = forward(plain, variables, EVAL)
    assert_close(doubled, 2 * expected, tolerance=FLOAT32_SHORT)
    assert state == {"batch_stats": "new"}
    total = bound.evaluate(*variables, tiny_model.batch())[0]["total"]
    assert_close(total.item(), tiny_model.batch()["inputs"].sum())


def test_bf16_computes_in_bfloat16_with_float32_parameters_and_logits():
    float32, bf16 = bind(NO_BATCH_NORM), bind(NO_BATCH_NORM, precision="bf16")
    variables = float32.init(KEY)
    params, _ = bf16.init(KEY)
    exact, _ = forward(float32, variables, EVAL)
    rounded, _ = forward(bf16, variables, EVAL)
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
    assert rounded.dtype == jnp.float32
    assert not np.array_equal(exact, rounded)
    assert_close(exact, rounded, tolerance=0.05)
