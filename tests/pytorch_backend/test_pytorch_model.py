"""The bound model: structure, initialisation, forward passes, evaluation."""

import copy
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from algoperf import spec  # noqa: E402
from algoperf.errors import AlgoPerfError  # noqa: E402
from algoperf.forward_context import ForwardContext  # noqa: E402
from algoperf.pytorch_backend import layers, make_backend  # noqa: E402
from algoperf.pytorch_backend.distributed import Rank  # noqa: E402
from algoperf.spec import ParameterType  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402
from tests.pytorch_backend.tiny_pytorch_model import (  # noqa: E402
    EVAL,
    TRAIN,
    Config,
    batch,
    bound,
    key,
)

NORMS = [Config(stock_batch_norm=True), Config(running_mean=True)]


def placed(rows=16, seed=0):
    return make_backend().place(batch(rows, seed))


def logits(
    model, params, *, mode=TRAIN, rng=None, update=True, rate=0.0, data=None
) -> torch.Tensor:
    data = data or placed()
    rng = key(5) if rng is None else rng
    return model.forward(params, data, None, mode, rng, update, rate)[0]


def buffers(params):
    return {name: b.clone() for name, b in params.named_buffers()}


def assert_equal(first, second):
    assert set(first) == set(second)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_shapes_and_types_have_the_names_of_the_parameters():
    model = bound(Config(stock_batch_norm=True))
    params, _ = model.init(key(0))
    named = dict(params.named_parameters())
    shapes = {name: spec.ShapeTuple(p.shape) for name, p in named.items()}
    assert model.param_shapes == shapes
    assert model.param_types == {
        "hidden.weight": ParameterType.WEIGHT,
        "hidden.bias": ParameterType.BIAS,
        "norm.weight": ParameterType.BATCH_NORM_SCALE,
        "norm.bias": ParameterType.BATCH_NORM_BIAS,
        "head.weight": ParameterType.WEIGHT,
        "head.bias": ParameterType.BIAS,
    }


def test_types_are_found_by_their_names_under_ddp():
    types = bound().param_types
    assert types["module.hidden.bias"] is ParameterType.BIAS
    with pytest.raises(KeyError, match="other"):
        types["module.other"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("head", True),
        ("head.weight", True),
        ("module.head.bias", True),
        ("hidden", False),
        ("hidden.weight", False),
        ("he", False),
        ("", False),
    ],
)
def test_output_parameters_are_those_marked_as_such(name, expected):
    assert bound().is_output_param(name) is expected


def test_an_untyped_parameter_is_an_error_that_names_it():
    with pytest.raises(AlgoPerfError, match=r"tiny.*'0\.weight' has no type"):
        bound(build=lambda config: nn.Sequential(nn.Linear(2, 2)))


def test_a_parameter_that_nobody_fills_is_an_error_that_names_it():
    def build(config):
        linear = nn.Linear(2, 2)
        for parameter in linear.parameters():
            layers.typed(parameter, ParameterType.WEIGHT)
        return linear

    with pytest.raises(AlgoPerfError, match="'weight'"):
        bound(build=build).init(key(0))


def test_a_parent_may_overwrite_what_its_children_drew():
    class Zeroed(nn.Sequential):
        def reset_parameters(self, generator):
            nn.init.zeros_(self[0].weight)

    params, _ = bound(build=lambda config: Zeroed(layers.Linear(2, 2))).init(key(0))
    assert torch.equal(params[0].weight, torch.zeros(2, 2))


def test_shared_parameters_stay_shared():
    def build(config):
        model = nn.Sequential(layers.Embedding(5, 3), layers.Linear(3, 5, bias=False))
        model[1].weight = model[0].weight
        return model

    params, _ = bound(build=build).init(key(0))
    assert params[0].weight is params[1].weight


def test_initial_values_are_a_function_of_the_rng():
    model = bound()
    first, again, other = (model.init(key(n))[0].state_dict() for n in (0, 0, 1))
    assert_equal(first, again)
    assert not torch.equal(first["hidden.weight"], other["hidden.weight"])


def test_nothing_here_touches_the_global_generators():
    class Stock(nn.Linear):
        def __init__(self, config):
            super().__init__(config.features, config.classes)  # draws
            for parameter in self.parameters():
                layers.typed(parameter, ParameterType.WEIGHT)

        def reset_parameters(self, generator=None):
            for parameter in self.parameters():
                nn.init.normal_(parameter, generator=generator)

    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    model = bound(build=Stock)
    params, _ = model.init(key(0))
    logits(model, params, rate=0.5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.parametrize("mode", [TRAIN, EVAL])
def test_forward_sets_the_mode_of_every_module(mode):
    model = bound(Config(stock_batch_norm=True))
    params, _ = model.init(key(0))
    params.train(mode is EVAL)
    logits(model, params, mode=mode)
    assert {m.training for m in params.modules()} == {mode is TRAIN}


def test_eval_mode_keeps_gradients_possible():
    model = bound()
    params, _ = model.init(key(0))
    logits(model, params, mode=EVAL).sum().backward()
    assert params.hidden.weight.grad.abs().sum() > 0


def test_dropout_masks_are_a_function_of_the_rng():
    model = bound()
    params, _ = model.init(key(0))
    first, again, other = (
        logits(model, params, rate=0.5, rng=key(n)) for n in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_changed_dropout_rate_takes_effect():
    model = bound()
    params, _ = model.init(key(0))
    plain = logits(model, params, mode=EVAL)
    assert torch.equal(logits(model, params, rate=0.0), plain)
    assert not torch.equal(logits(model, params, rate=0.5), plain)
    assert torch.equal(logits(model, params, rate=torch.tensor(0.0)), plain)
    everything = logits(model, params, rate=1.0)
    assert torch.equal(everything, params.head.bias.expand_as(everything))


def test_dropout_is_off_in_eval_mode():
    model = bound()
    params, _ = model.init(key(0))
    rates = [logits(model, params, mode=EVAL, rate=rate) for rate in (0.0, 0.5)]
    assert torch.equal(*rates)


def test_a_copy_of_the_parameters_has_its_own_dropout_state():
    model = bound()
    params, _ = model.init(key(0))
    logits(model, params, rate=0.5)
    copied = copy.deepcopy(params)
    assert torch.equal(
        logits(model, copied, rate=0.5, rng=key(9)),
        logits(model, params, rate=0.5, rng=key(9)),
    )


@pytest.mark.parametrize("config", NORMS)
def test_update_batch_norm_false_leaves_running_statistics_bit_equal(config):
    model = bound(config)
    params, _ = model.init(key(0))
    before = buffers(params)
    first = logits(model, params, update=False)
    second = logits(model, params, update=False)
    assert_equal(buffers(params), before)
    assert torch.equal(first, second)


@pytest.mark.parametrize("config", NORMS)
def test_update_batch_norm_false_uses_the_batchs_statistics(config):
    model = bound(config)
    params, _ = model.init(key(0))
    kept = logits(model, params, update=False)
    assert torch.equal(kept, logits(model, params, update=True))
    assert not torch.equal(kept, logits(model, params, mode=EVAL))


@pytest.mark.parametrize("config", NORMS)
def test_running_statistics_are_updated_again_afterwards(config):
    model = bound(config)
    params, _ = model.init(key(0))
    before = buffers(params)
    logits(model, params, update=False)
    logits(model, params, update=True)
    name = "norm.running_mean" if config.stock_batch_norm else "norm.mean"
    assert not torch.equal(buffers(params)[name], before[name])


def test_a_model_files_forward_replaces_the_call():
    seen = []

    def forward(module, batch, context):
        seen.append(context)
        return module(batch["inputs"]) + 1

    plain, replaced = bound(), bound(forward=forward)
    params, _ = plain.init(key(0))
    assert torch.equal(
        logits(replaced, params, rate=0.5), logits(plain, params, rate=0.5) + 1
    )
    (context,) = seen
    assert context == ForwardContext(Config(), True, context.rng, True, 0.5)
    assert np.array_equal(context.rng, key(5))


def test_a_process_is_told_where_its_examples_lie_in_the_global_batch():
    seen = []

    def forward(module, batch, context):
        seen.append(context.first_example(len(batch["inputs"])))
        return module(batch["inputs"])

    backend = make_backend()
    replaced = bound(forward=forward)
    replaced._execution = dataclasses.replace(
        replaced._execution, rank=Rank(2, 2, world_size=4)
    )
    params, _ = bound().init(key(0))
    logits(replaced, params, data=backend.place(batch(16, 0)))
    assert seen == [32]


def test_bf16_computes_in_bfloat16_and_keeps_float32_parameters_and_logits():
    dtypes = []
    model = bound(backend=make_backend(precision="bf16"))
    params, _ = model.init(key(0))
    params.head.register_forward_hook(lambda *a: dtypes.append(a[2].dtype))
    result = logits(model, params)
    assert dtypes == [torch.bfloat16]
    assert result.dtype == torch.float32
    assert {p.dtype for p in params.parameters()} == {torch.float32}


def test_evaluate_gives_numpy_outputs_in_eval_mode():
    model = bound(Config(stock_batch_norm=True))
    params, _ = model.init(key(0))
    result, _ = model.evaluate(params, None, placed())
    scores = logits(model, params, mode=EVAL)
    expected = nn.functional.cross_entropy(
        scores, placed()["targets"].long(), reduction="none"
    ).detach()
    assert_close(result["loss"][:14], expected[:14], tolerance=FLOAT32_SHORT)
    assert (result["loss"][14:] == 0).all()
    correct = scores.argmax(dim=-1) == placed()["targets"]
    assert (result["correct"] == correct.numpy()).all()


def test_evaluate_changes_neither_modes_nor_statistics():
    model = bound(Config(stock_batch_norm=True))
    params, _ = model.init(key(0))
    params.train()
    params.hidden.eval()
    before = buffers(params)
    model.evaluate(params, None, placed())
    assert params.training
    assert not params.hidden.training
    assert_equal(buffers(params), before)


def test_evaluate_leaves_parameters_trainable():
    model = bound()
    params, _ = model.init(key(0))
    model.evaluate(params, None, placed())
    logits(model, params).sum().backward()
    assert params.head.weight.grad is not None


def test_a_model_files_outputs_replaces_the_evaluation():
    def outputs(module, batch, context):
        return {"sum": batch["inputs"].sum(dim=1)}

    model = bound(outputs=outputs)
    params, _ = model.init(key(0))
    data = placed()
    result, _ = model.evaluate(params, None, data)
    np.testing.assert_array_equal(result["sum"], data["inputs"].sum(dim=1))


@pytest.mark.slow
def test_a_compiled_model_equals_the_eager_one_and_compiles_once_for_all_rates():
    torch._dynamo.reset()
    eager, compiled = bound(), bound(backend=make_backend(compile=True))
    params, _ = compiled.init(key(0))
    plain, _ = eager.init(key(0))
    graphs = torch._dynamo.utils.counters["stats"]
    logits(compiled, params, rate=0.1)
    after_first = graphs["unique_graphs"]
    for step, rate in enumerate([0.2, 0.7, 0.0, 1.0]):
        options = {"rate": rate, "rng": key(step)}
        assert_close(
            logits(compiled, params, **options),
            logits(eager, plain, **options),
            tolerance=FLOAT32_SHORT,
        )
    assert graphs["unique_graphs"] == after_first
