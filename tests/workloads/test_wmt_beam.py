"""Beam search of `wmt`: against a transcription of the published rule, in both frameworks."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import wmt_oracle as oracle

from algoperf.forward_context import ForwardContext
from algoperf.workloads.wmt import beam
from algoperf.workloads.wmt.definition import ModelConfig

TINY = ModelConfig(
    vocab_size=11, max_length=13, num_layers=1, embed_dim=8, num_heads=2, mlp_dim=12
)
SENTENCES = [[5, 4, 9, 2], [3, 2], [7, 7, 6, 8, 10, 3, 2], [10, 2], [2]]


def random_params(config, seed):
    """Random parameters of the JAX model, by path, whose hypotheses often end."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from flax.core import meta
    from flax.traverse_util import flatten_dict

    from algoperf.workloads.wmt import model_jax

    module = model_jax.build(config)
    example = model_jax.example_batch(config)
    boxed = jax.eval_shape(
        lambda key: model_jax.init_variables(module, {"params": key}, example),
        jax.random.key(0),
    )
    shapes = flatten_dict(meta.unbox(boxed)["params"], sep="/")
    rng = np.random.default_rng(seed)
    params = {
        path: rng.normal(path.endswith("scale"), 0.3, shape.shape).astype(np.float32)
        for path, shape in shapes.items()
    }
    table = params["embedding/embedding"]
    table[:] = rng.normal(0, 0.7, table.shape)
    # Follows the position's slow sine: ends become likelier with time.
    table[beam.EOS, 1], table[beam.EOS, 5] = 16, -16
    return params


def batch_of(sentences, config):
    rows = np.zeros((len(sentences), config.max_length), np.int32)
    for row, sentence in zip(rows, sentences, strict=True):
        row[: len(sentence)] = sentence
    return {"inputs": rows, "targets": rows, "weights": (rows > 0).astype(np.float32)}


class InJax:
    def __init__(self, config):
        jax = pytest.importorskip("jax")
        pytest.importorskip("flax")
        from flax.traverse_util import unflatten_dict

        from algoperf.workloads.wmt import model_jax

        module = model_jax.build(config)
        compiled = jax.jit(
            lambda params, batch: model_jax.outputs(
                module, {"params": params}, batch, ForwardContext(config)
            )
        )
        self.outputs = lambda params, batch: jax.device_get(
            compiled(unflatten_dict(params, sep="/"), batch)
        )


class InPytorch:
    def __init__(self, config):
        torch = pytest.importorskip("torch")
        from algoperf.pytorch_backend.weights import from_jax
        from algoperf.workloads.wmt import model_pytorch

        module = model_pytorch.build(config).eval()

        def outputs(params, batch):
            weights = from_jax(params)
            module.load_state_dict({k: torch.tensor(a) for k, a in weights.items()})
            tensors = {key: torch.tensor(rows) for key, rows in batch.items()}
            with torch.no_grad():
                found = model_pytorch.outputs(module, tensors, ForwardContext(config))
            return {key: tensor.numpy() for key, tensor in found.items()}

        self.outputs = outputs


FRAMEWORKS: dict[str, Any] = {"jax": InJax, "pytorch": InPytorch}
each_framework = pytest.mark.parametrize("framework", FRAMEWORKS)
_models: dict = {}


def outputs_of(framework, config, params, batch):
    key = framework, config, len(batch["inputs"])
    if key not in _models:
        _models[key] = FRAMEWORKS[framework](config)
    return _models[key].outputs(params, batch)


def answers(hypotheses):
    """Rows up to and with their EOS, as lists."""
    found = []
    for row in hypotheses.tolist():
        row = row[:-1]
        found.append(row[: row.index(beam.EOS) + 1] if beam.EOS in row else row)
    return found


def oracle_answers(params, config, sentences):
    predictors = [
        lambda read, s=s: oracle.log_probs(params, config, s, read)[-1]
        for s in sentences
    ]
    return oracle.beam_search(
        predictors,
        beam=config.beam_size,
        exponent=config.length_exponent,
        max_length=config.max_length,
    )


@each_framework
@pytest.mark.parametrize("seed", range(6))
def test_translations_are_those_of_the_published_rule(framework, seed):
    params = random_params(TINY, seed)
    found = outputs_of(framework, TINY, params, batch_of(SENTENCES, TINY))
    expected, _ = oracle_answers(params, TINY, SENTENCES)
    assert answers(found["hypothesis"]) == expected


def test_random_models_end_some_searches_early_and_leave_others_unfinished():
    """Else the tests above would say little."""
    lengths, steps = [], []
    for seed in range(6):
        found, number = oracle_answers(random_params(TINY, seed), TINY, SENTENCES)
        steps.append(number)
        lengths += [len(a) if a[-1] == beam.EOS else None for a in found]
    assert min(steps) < TINY.max_length - 1
    assert len({x for x in lengths if x}) >= 4
    assert None in lengths


@each_framework
def test_growing_caches_change_nothing(framework, monkeypatch):
    params, batch = random_params(TINY, 1), batch_of(SENTENCES, TINY)
    plain = outputs_of(framework, TINY, params, batch)
    monkeypatch.setattr(beam, "_SHORTEST_CACHE", 5)
    assert TINY.beam_rule.cache_lengths() == [5, 10, 13]
    grown = FRAMEWORKS[framework](TINY).outputs(params, batch)
    np.testing.assert_array_equal(grown["hypothesis"], plain["hypothesis"])


@each_framework
@pytest.mark.parametrize("seed", [0, 3])
def test_a_translation_does_not_depend_on_the_other_sentences(framework, seed):
    params = random_params(TINY, seed)
    together = outputs_of(framework, TINY, params, batch_of(SENTENCES, TINY))
    for i, sentence in enumerate(SENTENCES):
        others = [[9, 9, 2]] * (len(SENTENCES) - 1)
        alone = outputs_of(framework, TINY, params, batch_of([sentence, *others], TINY))
        np.testing.assert_array_equal(alone["hypothesis"][0], together["hypothesis"][i])


@each_framework
def test_rows_that_fill_up_a_batch_translate_to_nothing(framework):
    params = random_params(TINY, 0)
    batch = batch_of([*SENTENCES[:3], [], []], TINY)
    full = outputs_of(framework, TINY, params, batch_of(SENTENCES, TINY))
    found = outputs_of(framework, TINY, params, batch)
    assert not found["hypothesis"][3:].any()
    assert not found["num_tokens"][3:].any()
    assert found["weights"].tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_array_equal(found["hypothesis"][:3], full["hypothesis"][:3])


def test_another_beam_and_exponent_follow_the_rule():
    """In PyTorch alone: the rule is common to both."""
    config = dataclasses.replace(TINY, beam_size=3, length_exponent=1.5, max_length=9)
    params = random_params(config, 2)
    found = outputs_of("pytorch", config, params, batch_of(SENTENCES, config))
    expected, _ = oracle_answers(params, config, SENTENCES)
    assert answers(found["hypothesis"]) == expected


# Parts


def test_published_numbers_of_the_rule():
    rule = ModelConfig().beam_rule
    assert (rule.beam_size, rule.exponent, rule.last_time) == (4, 0.6, 255)
    assert rule.penalty(1) == 1
    assert rule.penalty(256) == pytest.approx(43.5**0.6)
    assert rule.cache_lengths() == [64, 128, 256]


def operations(framework):
    if framework == "jax":
        pytest.importorskip("jax")
        from algoperf.workloads.wmt.beam_jax import OPERATIONS

        return OPERATIONS
    torch = pytest.importorskip("torch")
    from algoperf.workloads.wmt.beam_pytorch import operations

    return operations(torch.device("cpu"))


def array(framework, values):
    if framework == "jax":
        return pytest.importorskip("jax.numpy").asarray(values)
    return pytest.importorskip("torch").tensor(values)


@each_framework
def test_the_best_of_equal_values_have_the_lower_indices_first(framework):
    ops = operations(framework)
    x = array(framework, [[1.0, 3.0, 2.0, 3.0, 2.0], [0.0, 0.0, -1.0, 5.0, 5.0]])
    values, indices = ops.top_k(x, 4)
    assert np.asarray(indices).tolist() == [[1, 3, 2, 4], [3, 4, 0, 1]]
    assert np.asarray(values).tolist() == [[3, 3, 2, 2], [5, 5, 0, 0]]


@each_framework
def test_descendants_read_what_their_ancestors_wrote(framework):
    """After one step, all hypotheses descend from the first one's cache."""
    ops, rule = operations(framework), beam.Rule(max_length=6, beam_size=2)
    beams = beam.initial(ops, rule, array(framework, [False]))
    log_probs = array(framework, np.log([[[0.1, 0.2, 0.05, 0.3, 0.35]] * 2]))
    beams = beam.advance(ops, rule, beams, log_probs, 0)
    assert np.asarray(beams.live_tokens)[0, :, 1].tolist() == [3, 4]  # best last
    seen = np.asarray(beam.visible(ops, beams, 1, 3)).reshape(2, 3, 2)
    first, second = seen[0].tolist(), seen[1].tolist()
    assert first == [[True, False], [True, False], [False, False]]
    assert second == [[True, False], [False, True], [False, False]]


def test_pytorch_stops_when_all_sentences_are_done():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.wmt import beam_pytorch

    rule = beam.Rule(max_length=40, beam_size=2)
    certain = torch.log(torch.tensor([1e-9, 1e-9, 0.9, 0.04, 0.06]))
    calls = []

    def advance(beams, time, caches):
        calls.append(int(time))
        return beam_pytorch.advance(
            rule, lambda tokens, _: certain.expand(1, 2, 5), beams, time, 40
        )

    beam_pytorch.search(rule, advance, lambda _: [], torch.tensor([False]))
    _, steps = oracle.beam_search(
        [lambda _: certain.double().numpy()], beam=2, exponent=0.6, max_length=40
    )
    assert len(calls) == steps < 10


def test_jax_stops_when_all_sentences_are_done():
    jax = pytest.importorskip("jax")
    from algoperf.workloads.wmt import beam_jax

    rule = beam.Rule(max_length=40, beam_size=2)
    certain = jax.numpy.log(jax.numpy.array([1e-9, 1e-9, 0.9, 0.04, 0.06]))
    calls = []

    def predict(tokens, time, visible, caches):
        jax.debug.callback(lambda time: calls.append(int(time)), time)
        return jax.numpy.broadcast_to(certain, (1, 2, 5)), caches

    beam_jax.search(rule, predict, lambda _: (), jax.numpy.array([False]))
    jax.effects_barrier()
    _, steps = oracle.beam_search(
        [lambda _: np.asarray(certain, float)], beam=2, exponent=0.6, max_length=40
    )
    assert len(calls) == steps < 10
