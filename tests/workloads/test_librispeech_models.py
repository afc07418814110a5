"""Both speech models in both frameworks, on noise."""

import dataclasses
import functools
import importlib
import math
from functools import partial

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.workload import Workload
from algoperf.workloads._speech import mel
from tests.closeness import assert_close

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
pytest.importorskip("flax")

from algoperf.pytorch_backend.weights import from_jax  # noqa: E402

SMALL = {
    "librispeech_conformer": {
        "embed_dim": 12,
        # With one layer, the norm at its end would do nothing: the final one follows.
        "num_layers": 2,
        "num_heads": 2,
        "mlp_dim": 16,
        "num_subsampling_channels": 2,
        "vocab_size": 16,
    },
    "librispeech_deepspeech": {
        "embed_dim": 12,
        "num_lstm_layers": 1,
        "num_mlp_layers": 1,
        "num_subsampling_channels": 2,
        "vocab_size": 16,
    },
}
KEY = np.array([[3, 4]], np.uint32)
LENGTHS = (8_000, 5_000, 3_000)  # samples
PARAMETERS = {  # published
    "librispeech_conformer": 32_321_792,
    "librispeech_conformer_attention_temperature": 32_321_792,
    "librispeech_conformer_layernorm": 32_317_696,
    "librispeech_conformer_gelu": 32_321_792,
    "librispeech_deepspeech": 18_381_312,
    "librispeech_deepspeech_tanh": 18_381_312,
    "librispeech_deepspeech_no_resnet": 18_381_312,
    "librispeech_deepspeech_norm_and_spec_aug": 18_380_288,
}
each_name = pytest.mark.parametrize("name", PARAMETERS)
each_base = pytest.mark.parametrize("name", SMALL)
VARIANTS = [name for name in PARAMETERS if name not in SMALL]
each_small = pytest.mark.parametrize(
    "name",
    [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS)],
)


def module(definition, part):
    return importlib.import_module(f"algoperf.workloads.{definition.folder}.{part}")


def small(name):
    definition = registry.definition(name)
    model = dataclasses.replace(definition.model, **SMALL[definition.base_name])
    return dataclasses.replace(definition, model=model)


def bound(definition, framework):
    backend = backends.load(framework)
    model = module(definition, f"model_{framework}")
    metrics = module(definition, "metrics")
    options = {"ruleset": rulesets.ruleset("paper"), "tuning": "external"}
    return backend, Workload(definition, backend, model, metrics, **options)


def noise(lengths=LENGTHS, total=9_000, seed=0):
    """Utterances of these lengths in a batch padded to `total` samples."""
    rng = np.random.default_rng(seed)
    lengths = np.asarray(lengths)
    rows = [rng.normal(scale=1e3, size=n) for n in lengths]
    signal = np.stack([np.pad(row, (0, total - len(row))) for row in rows])
    paddings = np.arange(total) >= lengths[:, np.newaxis]
    tokens = rng.integers(1, 16, (len(rows), 3)).astype(np.int32)
    return {
        "inputs": (signal.astype(np.float32), paddings.astype(np.float32)),
        "targets": (tokens, np.zeros(tokens.shape, np.float32)),
    }


def initial(backend, workload, seed=0):
    """Parameters and state; JAX's parameters moved away from zero."""
    params, state = workload.init_model_fn(backend.keys(KEY)[0])
    if backend.name == "jax":
        rng = np.random.default_rng(seed)
        noisy = partial(_noisy, rng)
        params = jax.tree.map(noisy, params)
    return params, state


def _noisy(rng, x):
    return x + 0.1 * rng.normal(size=x.shape).astype(np.float32)


def flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix: np.asarray(tree)}
    return {
        path: leaf
        for key, part in tree.items()
        for path, leaf in flat(part, f"{prefix}.{key}".lstrip(".")).items()
    }


def as_pytorch(params, name):
    """Names and layouts of the PyTorch models."""
    definition = small(name)
    model = module(definition, "model_pytorch")
    arrays = {path.replace(".", "/"): array for path, array in flat(params).items()}
    if hasattr(model, "weights_from_jax"):
        converted = model.weights_from_jax(definition.model, arrays)
    else:
        converted = from_jax(arrays)
    return {k: torch.tensor(np.ascontiguousarray(v)) for k, v in converted.items()}


@functools.cache
def jax_run(name, train=False, total=9_000, lengths=LENGTHS):
    """Parameters, logits, new state and loss; compiled once for all tests."""
    batch = noise(lengths, total)
    backend, workload = bound(small(name), "jax")
    params, state = initial(backend, workload)
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    key = backend.keys(KEY)[0]

    @jax.jit
    def run(params):
        logits, new_state = workload.model_fn(
            params, batch, state, mode, key, True, dropout_rate=0.0
        )
        return logits, new_state, workload.loss_fn(batch["targets"], logits)

    return (params, *jax.device_get(run(params)))


def pytorch_run(name, params, batch, train=False):
    backend, workload = bound(small(name), "pytorch")
    net, _ = initial(backend, workload)
    net.load_state_dict(as_pytorch(params, name), strict=False)
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    placed, key = backend.place(batch), backend.keys(KEY)[0]
    with torch.no_grad():
        logits, _ = workload.model_fn(
            net, placed, None, mode, key, True, dropout_rate=0.0
        )
    loss = workload.loss_fn(placed["targets"], logits)
    return net, [x.numpy() for x in logits], loss


@each_name
@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_models_have_the_published_number_of_parameters(name, framework):
    _, workload = bound(registry.definition(name), framework)
    leaves = jax.tree.leaves(
        dict(workload.param_shapes), is_leaf=lambda x: isinstance(x, spec.ShapeTuple)
    )
    assert sum(int(np.prod(x.shape_tuple)) for x in leaves) == PARAMETERS[name]


@each_small
def test_frameworks_agree_in_training_with_specaugment(name):
    params, ours, state, loss = jax_run(name, train=True)
    net, theirs, their_loss = pytorch_run(name, params, noise(), train=True)
    for a, b in zip(theirs, ours, strict=True):
        assert_close(a, b)
    assert_close(their_loss["per_example"].numpy(), loss["per_example"])
    buffers = {
        n.replace("running_", ""): b.numpy()
        for n, b in net.named_buffers()
        if "running_" in n
    }
    expected = {n.removeprefix("batch_stats."): v for n, v in flat(state).items()}
    assert buffers.keys() == expected.keys()
    for key, value in buffers.items():
        assert_close(value, expected[key])


@each_base
def test_cutting_padding_off_changes_nothing_in_evaluation(name):
    params, short, _, short_loss = jax_run(name)
    _, long, long_loss = pytorch_run(name, params, noise(total=13_000))
    assert_same_where_valid(long, short)
    assert_close(long_loss["per_example"].numpy(), short_loss["per_example"])


@each_base
def test_cutting_padding_off_changes_nothing_in_training(name):
    params, short, _, _ = jax_run(name, train=True)
    cut, _, _ = pytorch_run(name, params, noise(), train=True)
    net, long, _ = pytorch_run(name, params, noise(total=13_000), train=True)
    assert_same_where_valid(long, short)
    for a, b in zip(net.buffers(), cut.buffers(), strict=True):
        assert_close(a.numpy(), b.numpy())


def assert_same_where_valid(long, short):
    valid = short[1] == 0
    frames = valid.shape[1]
    assert (long[1][:, :frames] == short[1]).all() and long[1][:, frames:].all()
    assert_close(short[0][valid], long[0][:, :frames][valid])


@each_base
def test_valid_frames_are_a_quarter_rounded_up_twice(name):
    _, (logits, paddings), _, _ = jax_run(name)
    frames = [math.ceil(n / mel.FRAME_STEP) for n in LENGTHS]
    expected = [math.ceil(math.ceil(n / 2) / 2) for n in frames]
    assert (paddings == 0).sum(axis=1).tolist() == expected
    assert logits.shape[:2] == paddings.shape


@each_base
def test_a_row_of_padding_gives_finite_logits_and_changes_no_other_row(name):
    params, ours, _, _ = jax_run(name)
    batch = noise()
    rows = {"inputs": tuple(map(_with_padding_row, batch["inputs"], (0, 1)))}
    rows["targets"] = tuple(map(_with_padding_row, batch["targets"], (0, 1)))
    _, (theirs, _), _ = pytorch_run(name, params, rows)
    assert np.isfinite(theirs).all()
    assert_close(theirs[:-1], ours[0])


def _with_padding_row(x, value):
    return np.concatenate([x, np.full_like(x[:1], value)])


@each_base
def test_specaugment_changes_with_the_step_and_is_off_in_evaluation(name):
    backend, workload = bound(small(name), "pytorch")
    net, _ = initial(backend, workload)
    batch = backend.place(noise())

    def logits(numbers, mode):
        with torch.no_grad():
            found, _ = workload.model_fn(
                net, batch, None, mode, np.array(numbers), False, dropout_rate=0.0
            )
        return found[0]

    train, evaluate = spec.ForwardPassMode.TRAIN, spec.ForwardPassMode.EVAL
    assert torch.equal(logits([1, 2], train), logits([1, 2], train))
    assert not torch.equal(logits([1, 2], train), logits([1, 3], train))
    assert torch.equal(logits([1, 2], evaluate), logits([1, 3], evaluate))


@pytest.mark.parametrize(
    ("name", "sites"), [("librispeech_conformer", 13), ("librispeech_deepspeech", 4)]
)
def test_dropout_is_where_the_runs_that_set_the_targets_had_it(name, sites):
    from algoperf.pytorch_backend.layers import Dropout

    definition = registry.definition(name)
    with torch.device("meta"):
        net = module(definition, "model_pytorch").build(definition.model)
    found = [n for n, part in net.named_modules() if isinstance(part, Dropout)]
    assert len(found) == sites
    assert not any("convolution" in n or "lstm" in n for n in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_differ_from_their_base(name):
    definition = small(name)
    params, (ours, _), _, _ = jax_run(name)
    base = small(definition.base_name).model
    net = module(definition, "model_pytorch").build(base).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.load_state_dict(as_pytorch(params, name), strict=False)
        other, _ = net(tuple(torch.tensor(x) for x in noise()["inputs"]))
    assert not np.allclose(other.numpy(), ours, atol=1e-3)


@pytest.mark.slow
@each_base
def test_a_pytorch_model_compiles_as_one_graph(name):
    definition = small(name)
    backend, workload = bound(definition, "pytorch")
    net, _ = initial(backend, workload)
    batch = backend.place(noise())
    train, key = spec.ForwardPassMode.TRAIN, backend.keys(KEY)[0]

    def gradients():
        net.zero_grad()
        found, _ = workload.model_fn(net, batch, None, train, key, False, 0.0)
        found[0].square().sum().backward()
        return [parameter.grad.numpy().copy() for parameter in net.parameters()]

    expected = np.concatenate([x.ravel() for x in gradients()])
    net.compile(fullgraph=True, dynamic=False)
    assert_close(np.concatenate([x.ravel() for x in gradients()]), expected)
