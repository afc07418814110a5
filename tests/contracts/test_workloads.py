"""What every workload promises, for all workloads that the registry finds."""

import copy
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import both_frameworks as both
import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, spec
from algoperf.runner.randomness import key_numbers
from tests.closeness import FLOAT32, assert_close, assert_each_close, assert_parts_close

WORKLOADS = [n for n, d in registry.definitions().items() if d.tier == "mini"]
FRAMEWORK_PACKAGES = {"jax": "flax", "pytorch": "torch"}
# Whose models compute parts in float32 whatever their parameters are: statistics of batch
# norm, the front end.
FLOAT32_ONLY = {
    "imagenet_resnet_mini",
    "librispeech_conformer_mini",
    "librispeech_deepspeech_mini",
}
# Of a gradient's norm, where activations have a kink: a value near it may fall on either
# side in float32, and one element's share of the gradient changes.
KINK_TOLERANCE = 5e-3
KINKED = {"relu", "leaky_relu"}
# Constants are in float32 also where all else is in float64.
FLOAT64_MODEL = 1e-7
each_workload = pytest.mark.parametrize("name", WORKLOADS)
each_framework = pytest.mark.parametrize("framework", FRAMEWORK_PACKAGES)
# In several processes in the fast tests: sums over examples, and batch norm.
SHARED_FAST = {"mnist_mini", "imagenet_resnet_mini"}


def enable_x64():
    import jax

    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    # Where the oldest supported version has it.
    return importlib.import_module("jax.experimental").enable_x64()


def tensor(array):
    import torch

    return torch.tensor(array)


def load(framework):
    pytest.importorskip(FRAMEWORK_PACKAGES[framework])
    return backends.load(framework)


def init(workload, backend):
    return workload.init_model_fn(backend.keys(key_numbers(0, "init"))[0])


@pytest.fixture(scope="module")
def twins(prepared, data_dir):
    """Workload and parameters in both frameworks, with the same weights."""
    made = {}

    def make(name):
        if name not in made:
            import torch

            definition = prepared(name)
            jax, pytorch = load("jax"), load("pytorch")
            jax_workload = both.bound(definition, jax)
            params, state = init(jax_workload, jax)
            pytorch_workload = both.bound(definition, pytorch)
            module, _ = init(pytorch_workload, pytorch)
            weights = both.pytorch_weights(definition, both.flat(params))
            tensors = {
                k: torch.tensor(np.ascontiguousarray(v)) for k, v in weights.items()
            }
            missing, extra = module.load_state_dict(tensors, strict=False)
            named = dict(module.named_parameters())
            assert not extra and not set(missing) & set(named)
            made[name] = (
                (jax, jax_workload, params, state),
                (pytorch, pytorch_workload, module),
            )
        return made[name]

    return make


@each_workload
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_same_weights_give_the_same_outputs_loss_and_gradients(
    name, train, twins, prepared, data_dir
):
    (jax, jax_workload, params, state), (pytorch, pytorch_workload, module) = twins(
        name
    )
    definition = prepared(name)
    batch = both.batches(definition, data_dir, "train").batch(0)
    # A copy: the step moves running statistics, and others compare this module too.
    module = copy.deepcopy(module)
    has_kinks = getattr(definition.model, "activation", None) in KINKED
    if name in FLOAT32_ONLY:
        tolerance, of_gradients = FLOAT32, KINK_TOLERANCE if has_kinks else FLOAT32
        ours = both.jax_step(jax_workload, jax, params, state, jax.place(batch), train)
        placed = pytorch.place(batch)
    else:
        tolerance = of_gradients = FLOAT64_MODEL
        wide = both.mapped(both.in_float64, (params, state, batch))
        with enable_x64():
            ours = both.jax_step(jax_workload, jax, *wide, train)
        module, placed = module.double(), both.mapped(tensor, wide[-1])
        assert ours["logits"][0].dtype == np.float64
    theirs = both.pytorch_step(pytorch_workload, pytorch, module, placed, train)
    for a, b in zip(theirs["logits"], ours["logits"], strict=True):
        assert_close(a, b, "logits", tolerance=tolerance)
    for key in ("summed", "n_valid_examples", "per_example"):
        assert_close(theirs["loss"][key], ours["loss"][key], key, tolerance=tolerance)
    grads = both.pytorch_weights(definition, ours["grads"])
    assert_parts_close(theirs["grads"], grads, tolerance=of_gradients)


@each_workload
def test_same_weights_give_the_same_metrics(name, twins, prepared, data_dir):
    (jax, jax_workload, params, state), (pytorch, pytorch_workload, module) = twins(
        name
    )
    validation = both.batches(prepared(name), data_dir, "validation")
    ours = both.metrics(jax_workload, jax, validation, params, state, data_dir)
    theirs = both.metrics(pytorch_workload, pytorch, validation, module, None, data_dir)
    assert_each_close(theirs, ours)


@each_workload
@each_framework
def test_metrics_include_the_target_metric_and_the_number_of_examples(
    name, framework, prepared, data_dir
):
    definition, backend = prepared(name), load(framework)
    workload = both.bound(definition, backend)
    params, state = init(workload, backend)
    validation = both.batches(definition, data_dir, "validation", batch_size=48)
    found = both.metrics(workload, backend, validation, params, state, data_dir)
    assert definition.target.metric in found
    assert found["num_examples"] == min(96, definition.splits.validation)


@each_workload
@each_framework
def test_losses_are_one_number_for_each_weight_and_all_count_without_a_mask(
    name, framework, prepared, data_dir
):
    definition, backend = prepared(name), load(framework)
    workload = both.bound(definition, backend)
    params, state = init(workload, backend)
    batch = both.batches(definition, data_dir, "validation").batch(0)
    placed = backend.place(batch)
    mode = spec.ForwardPassMode.EVAL

    def loss(params, mask):
        key = backend.keys(key_numbers(0, "contract"))[0]
        logits, _ = workload.model_fn(params, placed, state, mode, key, False)
        return workload.loss_fn(placed["targets"], logits, mask)

    if framework == "jax":
        import jax

        loss = jax.jit(loss)
    weighted, whole = loss(params, placed["weights"]), loss(params, None)
    shape = tuple(weighted["per_example"].shape)
    # A product that broadcasts, [16, 1] * [16], would pair every loss with every weight.
    assert shape[: batch["weights"].ndim] == batch["weights"].shape
    assert tuple(whole["per_example"].shape) == shape
    if definition.loss_type is not spec.LossType.CTC_LOSS:
        assert float(whole["n_valid_examples"]) == np.prod(shape)


@each_workload
@each_framework
def test_parameter_types_have_the_structure_of_the_parameters(
    name, framework, prepared
):
    backend = load(framework)
    workload = both.bound(prepared(name), backend)
    params, _ = init(workload, backend)
    if framework == "jax":
        shapes = {path: array.shape for path, array in both.flat(params).items()}
    else:
        shapes = {n: tuple(p.shape) for n, p in params.named_parameters()}
    types = leaves(workload.model_params_types)
    assert set(types) == set(shapes)
    assert all(isinstance(t, spec.ParameterType) for t in types.values())
    assert {
        k: s.shape_tuple for k, s in leaves(workload.param_shapes).items()
    } == shapes
    outputs = [key for key in shapes if workload.is_output_params(key)]
    assert 0 < len(outputs) < len(shapes)


def leaves(tree, prefix=""):
    if isinstance(tree, dict):
        return {
            k: v
            for key, sub in tree.items()
            for k, v in leaves(sub, f"{prefix}/{key}").items()
        }
    return {prefix.removeprefix("/"): tree}


ALL_DEFINITIONS = list(registry.definitions())


@pytest.mark.parametrize("name", ALL_DEFINITIONS)
def test_both_frameworks_have_the_same_number_of_parameters(name):
    definition = registry.definition(name)
    counts = []
    for framework in FRAMEWORK_PACKAGES:
        workload = both.bound(definition, load(framework))
        shapes = leaves(workload.param_shapes).values()
        counts.append(sum(int(np.prod(shape.shape_tuple)) for shape in shapes))
    assert counts[0] == counts[1] > 0


@each_workload
@each_framework
def test_padding_never_changes_a_metric(name, framework, prepared, data_dir):
    definition, backend = prepared(name), load(framework)
    workload = both.bound(definition, backend)
    params, state = init(workload, backend)
    summarise = both.summarise(definition, data_dir)

    def evaluate(batch_size):
        opened = both.batches(definition, data_dir, "test", batch_size=batch_size)
        return summarise(
            workload.evaluate_batch(params, state, backend.place(opened.batch(index)))
            for index in range(opened.num_batches)
        )

    size = definition.splits.test
    tight = evaluate(size)
    padded = evaluate(size + 13)
    assert_each_close(padded, tight)


@each_workload
def test_a_batch_depends_on_seed_and_index_alone(name, prepared, data_dir):
    definition = prepared(name)
    first = both.batches(definition, data_dir, "train")
    again = both.batches(definition, data_dir, "train")
    for index in (5, 0, 2, 5):
        assert_same(first.batch(index), again.batch(index))
    other = both.batches(definition, data_dir, "train", seed=4)
    assert not same(first.batch(0), other.batch(0))
    assert not same(first.batch(0), first.batch(1))


@each_workload
@pytest.mark.parametrize("split", ["train", "validation"])
def test_writing_into_a_batch_changes_no_other(name, split, prepared, data_dir):
    batches = both.batches(prepared(name), data_dir, split)
    expected = copy.deepcopy(batches.batch(0))
    for array in arrays_in(tuple(batches.batch(0).values())):
        if array.flags.writeable:
            array.fill(1)
    assert_same(batches.batch(0), expected)


def arrays_in(values):
    """Of nested tuples; graphs are named tuples with None for what they lack."""
    if isinstance(values, tuple):
        return [array for value in values for array in arrays_in(value)]
    return [] if values is None else [values]


@each_workload
@pytest.mark.parametrize("split", ["train", "eval_train", "validation", "test"])
def test_shards_are_the_parts_of_the_global_batch(name, split, prepared, data_dir):
    definition = prepared(name)
    whole = both.batches(definition, data_dir, split).batch(1)
    parts = [
        both.batches(definition, data_dir, split, shard=i, num_shards=4).batch(1)
        for i in range(4)
    ]
    assert_same(joined(parts), whole)


def joined(parts):
    whole = {}
    for key in parts[0]:
        values = [part[key] for part in parts]
        if isinstance(values[0], tuple):
            whole[key] = tuple(np.concatenate(v) for v in zip(*values, strict=True))
        else:
            whole[key] = np.concatenate(values)
    return whole


def same(a, b):
    try:
        assert_same(a, b)
    except AssertionError:
        return False
    return True


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_equal(a[key], b[key])


@each_workload
@each_framework
def test_statistics_stay_when_batch_norm_is_not_to_be_updated(
    name, framework, prepared, data_dir
):
    definition, backend = prepared(name), load(framework)
    workload = both.bound(definition, backend)
    params, state = init(workload, backend)
    batch = backend.place(both.batches(definition, data_dir, "train").batch(0))
    key = backend.keys(key_numbers(0, "contract"))[0]

    def statistics(params, state):
        if framework == "jax":
            return both.flat(state or {})
        return {k: v.numpy().copy() for k, v in params.named_buffers()}

    before = statistics(params, state)
    if not before:
        pytest.skip("it has no batch norm")
    for _ in range(2):
        _, state = workload.model_fn(
            params,
            batch,
            state,
            spec.ForwardPassMode.TRAIN,
            key,
            update_batch_norm=False,
        )
    assert_same(statistics(params, state), before)


@each_workload
def test_a_new_dropout_rate_takes_effect_without_a_recompile(name, prepared, data_dir):
    backend = load("jax")
    import jax

    definition = prepared(name)
    if definition.default_dropout_rate is None:
        pytest.skip(f"{name} has no dropout")
    workload = both.bound(definition, backend)
    params, state = init(workload, backend)
    # Away from the initial values: a head of zeros would show no dropout.
    params = jax.tree.map(
        lambda p: p + 0.1 * np.cos(np.arange(p.size)).reshape(p.shape), params
    )
    batch = backend.place(both.batches(definition, data_dir, "train").batch(0))
    key = backend.keys(key_numbers(0, "contract"))[0]

    @jax.jit
    def forward(rate):
        return workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True, rate
        )[0]

    plain, dropped = forward(0.0), forward(0.5)
    assert not np.allclose(jax.tree.leaves(plain)[0], jax.tree.leaves(dropped)[0])
    assert forward._cache_size() == 1  # type: ignore[attr-defined]


def run_report(name, framework, data_dir, processes=1, devices=1):
    script = str(Path(both.__file__))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        command += [*launcher, f"--nproc_per_node={processes}"]
    result = subprocess.run(
        [*command, script, name, framework, str(data_dir)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    line = next(li for li in result.stdout.splitlines() if "RESULT " in li)
    return json.loads(line.partition("RESULT ")[2])


@pytest.mark.parametrize(
    "name",
    [
        name if name in SHARED_FAST else pytest.param(name, marks=pytest.mark.slow)
        for name in WORKLOADS
    ],
)
@pytest.mark.parametrize(
    ("framework", "more"), [("jax", {"devices": 8}), ("pytorch", {"processes": 2})]
)
def test_devices_and_processes_change_nothing_but_the_order_of_sums(
    name, framework, more, prepared, data_dir
):
    load(framework)
    prepared(name)
    one = both.report(name, framework, data_dir)
    many = run_report(name, framework, data_dir, **more)
    assert many["num_devices"] == next(iter(more.values()))
    assert_close(many["summed"], one["summed"], "summed")
    assert_each_close(many["metrics"], one["metrics"])
    norms = many["gradient_norms"], one["gradient_norms"]
    assert_parts_close(*norms, tolerance=1e-3)  # see KINK_TOLERANCE
