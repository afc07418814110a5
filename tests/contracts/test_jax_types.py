"""JAX models, losses and outputs say to which type they bring arrays of two types.

They are traced, not compiled or run, while JAX refuses to choose a common type itself.
"""

import both_frameworks as both
import pytest

from algoperf import backend as backends
from algoperf import registry, spec
from algoperf.runner.randomness import key_numbers

jax = pytest.importorskip("jax")

WORKLOADS = [n for n, d in registry.definitions().items() if d.tier == "mini"]

each_workload = pytest.mark.parametrize("name", WORKLOADS)
pytestmark = pytest.mark.usefixtures("strict_promotion")


@pytest.fixture(scope="module")
def traced(prepared, data_dir):
    """The workload, its parameters and state, and a batch: shapes and types alone."""

    def trace(name, split):
        definition = prepared(name)
        backend = backends.load("jax")
        workload = both.bound(definition, backend)
        key = backend.keys(key_numbers(0, "init"))[0]
        params, state = jax.eval_shape(workload.init_model_fn, key)
        batch = backend.place(both.batches(definition, data_dir, split).batch(0))
        return workload, params, state, batch, key

    return trace


@each_workload
def test_a_training_step_mixes_no_types(name, traced):
    workload, params, state, batch, key = traced(name, "train")

    def objective(params, state, dropout_rate):
        logits, _ = workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True, dropout_rate
        )
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"), 0.1)
        return loss["summed"] / loss["n_valid_examples"]

    gradients = jax.eval_shape(jax.grad(objective), params, state, 0.1)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)


@each_workload
def test_an_evaluation_mixes_no_types(name, traced):
    workload, params, state, batch, key = traced(name, "validation")
    evaluate = workload._model._compiled_evaluate
    outputs = jax.eval_shape(evaluate, params, state, batch, key)
    assert outputs
