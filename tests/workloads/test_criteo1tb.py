"""The criteo1tb workload: order of rows, batches, metrics, one model twice."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from algoperf import pipeline, registry
from algoperf.datasets.criteo1tb import prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData, BadSettings
from algoperf.prepared import Preparation
from algoperf.workloads.criteo1tb import data, metrics
from algoperf.workloads.criteo1tb.definition import DEFINITION, DataConfig, ModelConfig

MINI = registry.definition("criteo1tb_mini")
# Files of 10, 10 and 7 training rows; the first integer of a row is its number.
SPLITS = Splits(train=27, eval_train=12, validation=5, test=10)
FILE_STARTS = {0: 10, 10: 10, 20: 7}
# Published sizes of the models.
NUM_PARAMETERS = {
    "criteo1tb": 539_267_457,
    "criteo1tb_layernorm": 539_275_137,
    "criteo1tb_resnet": 538_121_473,
    "criteo1tb_embed_init": 539_267_457,
}
SMALL = ModelConfig(num_embeddings=64, embedding_dim=8, bottom=(16, 8), top=(16, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared data whose rows are numbered: train from 0, test 100, validation 200."""
    path = tmp_path_factory.mktemp("criteo") / "criteo1tb"
    files = {"train": [range(0, 10), range(10, 20), range(20, 27)]}
    files |= {"test": [range(100, 110)], "validation": [range(200, 205)]}
    names = {}
    with Preparation(path, dataset="criteo1tb", format_version=1) as preparation:
        for split, parts in files.items():
            names[split] = [f"{split}_{i}.bin" for i in range(len(parts))]
            for name, numbers in zip(names[split], parts, strict=True):
                with preparation.part(name) as part:
                    write_rows(part, np.array(numbers))
        counts = {split: sum(map(len, parts)) for split, parts in files.items()}
        preparation.finish(counts, {"files": names})
    return path


def write_rows(path, numbers):
    """Buckets of column 0 are 2^25 + number: rounded in float32."""
    logarithms = np.tile(numbers, (13, 1)).astype(np.float32)
    buckets = np.tile(numbers, (26, 1)) % np.array(reader.NUM_BUCKETS)[:, np.newaxis]
    buckets[0] = 2**25 + numbers
    writer = reader.RowWriter(path)
    writer.append(*reader.pack(numbers % 2, logarithms, buckets.astype(np.int32)))
    writer.close()


def open_batches(folder, split="train", **changes):
    request = pipeline.DataRequest(
        folder, split, SPLITS, batch_size=4, seed=5, config=DataConfig()
    )
    return data.open_batches(dataclasses.replace(request, **changes))


def numbers(batches, first, count):
    """Row numbers of some consecutive batches."""
    drawn = [batches.batch(first + i)["inputs"][:, 0] for i in range(count)]
    return np.concatenate(drawn).astype(int).tolist()


def test_published_numbers():
    for limits in DEFINITION.limits.values():
        assert (limits.budget_seconds, limits.step_hint) == (7_703, 10_666)
    assert DEFINITION.eval_period_seconds == 120
    assert DEFINITION.default_dropout_rate == 0.0
    assert DEFINITION.ignores_label_smoothing
    splits = DEFINITION.splits
    assert splits.train + splits.validation + splits.test == 4_373_472_329
    assert splits.validation + splits.test == 178_274_637
    assert splits.eval_train == -(-splits.validation // 131_072) * 131_072


@pytest.mark.parametrize(
    ("name", "validation", "test"),
    [
        ("criteo1tb", 0.123735, 0.126041),
        ("criteo1tb_layernorm", 0.123757, 0.126152),
        ("criteo1tb_resnet", 0.12415, 0.12648),
        ("criteo1tb_embed_init", 0.129657, 0.131967),
    ],
)
def test_published_targets(name, validation, test):
    target = registry.definition(name).target
    assert target == dataclasses.replace(target, validation=validation, test=test)
    assert (target.metric, target.better) == ("loss", "lower")


def test_a_training_batch_has_the_documented_arrays(folder):
    batch = open_batches(folder).batch(0)
    assert set(batch) == {"inputs", "targets"}
    assert (batch["inputs"].shape, batch["inputs"].dtype) == ((4, 39), np.float32)
    assert (batch["targets"].shape, batch["targets"].dtype) == ((4, 1), np.float32)
    parity = batch["inputs"][:, 0] % 2
    np.testing.assert_array_equal(batch["targets"][:, 0], parity)


def test_files_are_shuffled_and_rows_follow_each_other_within_a_file(folder):
    for epoch in range(6):
        rows = numbers(open_batches(folder, batch_size=27), epoch, 1)
        position = 0
        while position < len(rows):
            length = FILE_STARTS[rows[position]]
            start = rows[position]
            expected = list(range(start, start + length))
            assert rows[position : position + length] == expected
            position += length


def test_epochs_and_seeds_differ_in_the_order_of_files(folder):
    batches = open_batches(folder, batch_size=27)
    assert len({numbers(batches, epoch, 1)[0] for epoch in range(20)}) == 3
    firsts = {
        numbers(open_batches(folder, batch_size=27, seed=seed), 0, 1)[0]
        for seed in range(20)
    }
    assert len(firsts) == 3


def test_training_batches_are_full_and_run_on_across_epochs(folder):
    rows = numbers(open_batches(folder, batch_size=4), 0, 27)
    assert len(rows) == 108
    for epoch in range(4):
        assert sorted(rows[27 * epoch : 27 * epoch + 27]) == list(range(27))


def test_a_batch_may_be_larger_than_the_data(folder):
    rows = numbers(open_batches(folder, batch_size=60), 0, 1)
    assert rows == numbers(open_batches(folder, batch_size=4), 0, 15)


def test_a_batch_depends_on_its_index_alone(folder):
    batches, again = open_batches(folder), open_batches(folder)
    for index in (70, 3, 70):
        np.testing.assert_equal(batches.batch(index), again.batch(index))


def test_a_queue_continues_exactly_at_a_saved_position(folder):
    def draw(start, number):
        queue = pipeline.InputQueue(open_batches(folder), dict, start=start)
        drawn = [next(queue)["inputs"] for _ in range(number)]
        queue.close()
        return drawn, queue.position

    (whole, _), (_, position) = draw(0, 40), draw(0, 25)
    np.testing.assert_equal(draw(position, 15)[0], whole[25:])


@pytest.mark.parametrize("split", ["train", "eval_train", "validation", "test"])
def test_shards_together_are_the_batch(folder, split):
    whole = open_batches(folder, split).batch(1)
    parts = [
        open_batches(folder, split, shard=shard, num_shards=4).batch(1)
        for shard in range(4)
    ]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in whole}
    np.testing.assert_equal(joined, whole)


@pytest.mark.parametrize(("split", "start"), [("validation", 200), ("test", 100)])
def test_evaluation_reads_rows_in_order_and_pads_with_weight_0(folder, split, start):
    batches = open_batches(folder, split)
    size = SPLITS.size(split)
    assert batches.num_batches == -(-size // 4)
    rows = numbers(batches, 0, batches.num_batches)
    assert rows[:size] == list(range(start, start + size))
    assert not any(rows[size:])
    drawn = [batches.batch(i)["weights"] for i in range(batches.num_batches)]
    weights = np.concatenate(drawn)
    assert weights.dtype == np.float32
    assert weights.tolist() == [1.0] * size + [0.0] * (len(rows) - size)


def test_eval_train_is_the_same_training_files_for_every_seed(folder):
    rows = numbers(open_batches(folder, "eval_train", batch_size=12), 0, 1)
    other = open_batches(folder, "eval_train", batch_size=12, seed=9)
    assert rows == numbers(other, 0, 1)
    assert set(rows) <= set(range(27))
    assert len(set(rows)) == 12
    assert rows[0] in FILE_STARTS


def test_rows_can_be_shuffled_in_blocks(folder):
    config = DataConfig(shuffle_block_rows=2)
    rows = numbers(open_batches(folder, batch_size=27, config=config), 0, 1)
    assert sorted(rows) == list(range(27))
    blocks = [row for row in rows if row % 2 == 0]
    assert blocks != sorted(blocks)
    follows = {row: rows[i + 1] for i, row in enumerate(rows[:-1])}
    assert all(follows[row] == row + 1 for row in range(0, 26, 2))


def test_single_rows_can_be_shuffled(folder):
    config = DataConfig(shuffle_block_rows=1)
    rows = numbers(open_batches(folder, batch_size=27, config=config), 0, 1)
    assert sorted(rows) == list(range(27))
    assert sum(b == a + 1 for a, b in itertools.pairwise(rows)) < 10


def test_shuffling_leaves_evaluation_as_it_is(folder):
    config = DataConfig(shuffle_block_rows=1)
    for split in ("eval_train", "validation", "test"):
        np.testing.assert_equal(
            open_batches(folder, split, config=config).batch(0),
            open_batches(folder, split).batch(0),
        )


def test_blocks_below_one_row_are_refused(folder):
    with pytest.raises(BadSettings, match="shuffle_block_rows is 0"):
        open_batches(folder, config=DataConfig(shuffle_block_rows=0))


def test_blocks_that_are_too_many_to_shuffle_are_refused(tmp_path):
    files = [reader.RowFile(tmp_path, 5_000_000)] * 800
    with pytest.raises(BadSettings, match="Give at least 120"):
        data.RowOrder(files, 64, seed=0)


def test_buckets_are_rounded_to_float32_unless_exact_ones_are_asked_for(folder):
    config = DataConfig(exact_ids=True)
    published = open_batches(folder, "test", batch_size=10).batch(0)
    exact = open_batches(folder, "test", batch_size=10, config=config).batch(0)
    buckets = 2**25 + np.arange(100, 110)
    rows = 4_194_304
    np.testing.assert_array_equal(
        published["inputs"][:, 13].astype(np.int64) % rows,
        buckets.astype(np.float32).astype(np.int64) % rows,
    )
    np.testing.assert_array_equal(
        exact["inputs"][:, 13].astype(np.int64) % rows, buckets % rows
    )
    np.testing.assert_array_equal(published["inputs"][:, :13], exact["inputs"][:, :13])


def test_data_of_another_size_are_refused(folder):
    with pytest.raises(BadData, match=r"train 27.*needs.* train 28|train 28"):
        open_batches(folder, splits=dataclasses.replace(SPLITS, train=28))


def outputs(loss, weights):
    batch = {"weights": np.array(weights, np.float32)}
    per_example = np.array(loss, np.float32)[:, np.newaxis]
    return metrics.outputs(np, None, batch, per_example)


def test_the_loss_is_the_mean_over_examples_that_are_no_padding():
    batches = [outputs([0.5, 0.25], [1, 1]), outputs([1.0, 0.0], [1, 0])]
    result = metrics.summarise(batches)
    assert result == {"loss": pytest.approx(1.75 / 3), "num_examples": 3}


def test_the_loss_is_that_of_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1000)
    logits = rng.normal(size=1000)
    per_example = np.logaddexp(0, logits) - labels * logits
    expected = sklearn_metrics.log_loss(labels, 1 / (1 + np.exp(-logits)))
    batches = [
        outputs(per_example[i : i + 100], np.ones(100)) for i in range(0, 1000, 100)
    ]
    assert metrics.summarise(batches)["loss"] == pytest.approx(expected, rel=1e-6)


def test_batches_are_added_in_float64():
    batches = [outputs([1.0], [1])] + [outputs([1e-9], [1])] * 1000
    expected = (1 + 1000 * float(np.float32(1e-9))) / 1001
    assert metrics.summarise(batches)["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_loss_that_is_not_finite_stays_so():
    assert math.isnan(metrics.summarise([outputs([math.nan], [1])])["loss"])


def jax_variables(config, seed=0):
    """Boxed parameters by path, with the initial values."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("flax")
    from algoperf.workloads.criteo1tb import model_jax

    module = model_jax.build(config)
    inputs = model_jax.example_batch(config)["inputs"]

    def init(key):
        return module.init(key, inputs, train=False, dropout_rate=0.0)["params"]

    return jax, init, jax.random.key(seed)


def jax_params(config, seed=0):
    jax, init, key = jax_variables(config, seed)
    from flax.core import meta

    params = meta.unbox(jax.jit(init)(key))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(k.key for k in path): np.asarray(x) for path, x in leaves}


def pytorch_params(config, seed=0):
    torch = pytest.importorskip("torch")
    from algoperf.pytorch_backend.model import initialise
    from algoperf.workloads.criteo1tb import model_pytorch

    module = model_pytorch.build(config)
    initialise(module, np.array([seed, 1]))
    named = {n: p.detach().numpy() for n, p in module.named_parameters()}
    assert torch.float32 in {p.dtype for p in module.parameters()}
    return {
        n.replace(".", "/"): p.T if n.endswith("weight") else p
        for n, p in named.items()
    }


@pytest.mark.parametrize(("name", "number"), NUM_PARAMETERS.items())
def test_the_jax_models_have_the_published_number_of_parameters(name, number):
    jax, init, key = jax_variables(registry.definition(name).model)
    shapes = jax.tree.leaves(jax.eval_shape(init, key))
    assert sum(math.prod(shape.shape) for shape in shapes) == number


@pytest.mark.parametrize(("name", "number"), NUM_PARAMETERS.items())
def test_the_pytorch_models_have_the_published_number_of_parameters(name, number):
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    with torch.device("meta"):
        module = model_pytorch.build(registry.definition(name).model)
    assert sum(p.numel() for p in module.parameters()) == number


def test_the_layers_have_the_published_shapes():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    with torch.device("meta"):
        module = model_pytorch.build(DEFINITION.model)
    shapes = {
        n: tuple(p.shape) for n, p in module.named_parameters() if "bias" not in n
    }
    assert shapes == {
        "bottom.layer_0.weight": (512, 13),
        "bottom.layer_1.weight": (256, 512),
        "bottom.layer_2.weight": (128, 256),
        "embedding.weight": (4_194_304, 128),
        "top.layer_0.weight": (1_024, 506),
        "top.layer_1.weight": (1_024, 1_024),
        "top.layer_2.weight": (512, 1_024),
        "top.layer_3.weight": (256, 512),
        "output.weight": (1, 256),
    }


INIT = ModelConfig(num_embeddings=2_500, embedding_dim=40, bottom=(300, 40), top=(200,))


@pytest.mark.parametrize("make", [jax_params, pytorch_params])
def test_initial_values_have_the_published_distributions(make):
    params = make(INIT)
    weight = "kernel" if make is jax_params else "weight"
    bottom = params[f"bottom/layer_1/{weight}"]
    limit = math.sqrt(6 / 340)
    assert 0.98 * limit < np.abs(bottom).max() <= limit
    assert bottom.std() == pytest.approx(limit / math.sqrt(3), rel=0.05)
    top = params[f"top/layer_0/{weight}"]
    deviation = math.sqrt(2 / (40 + 378 + 200))
    assert top.std() == pytest.approx(deviation, rel=0.02)
    assert np.abs(top).max() > 3 * deviation  # not truncated
    bias = params["bottom/layer_0/bias"]
    assert bias.std() == pytest.approx(math.sqrt(1 / 300), rel=0.2)
    table = params["embedding/embedding" if make is jax_params else "embedding/weight"]
    assert table.min() >= 0
    assert 0.999 / 50 < table.max() < 1 / 50
    assert table.mean() == pytest.approx(0.5 / 50, rel=0.02)


def test_the_output_bias_starts_standard_normal_in_jax():
    jax, init, key = jax_variables(SMALL)
    from flax.core import meta

    def bias(key):
        return meta.unbox(init(key))["output"]["bias"]

    biases = jax.jit(jax.vmap(bias))(jax.random.split(key, 200))
    assert np.std(biases) == pytest.approx(1, rel=0.2)


def test_the_output_bias_starts_standard_normal_in_pytorch():
    biases = [pytorch_params(SMALL, seed)["output/bias"].item() for seed in range(100)]
    assert np.std(biases) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("make", [jax_params, pytorch_params])
def test_embed_init_starts_the_table_uniform_up_to_1(make):
    changes = DEFINITION.variants["embed_init"].model
    params = make(dataclasses.replace(SMALL, **changes))
    name = "embedding/embedding" if make is jax_params else "embedding/weight"
    assert params[name].min() >= 0
    assert 0.95 < params[name].max() < 1


def numpy_dlrm(params, inputs, config):
    """DLRM without variants, written from the published description."""

    def dense(x, name):
        kernel = params[f"{name}/kernel"].astype(np.float64)
        return x @ kernel + params[f"{name}/bias"]

    x = inputs[:, :13].astype(np.float64)
    for number in range(len(config.bottom)):
        x = np.maximum(dense(x, f"bottom/layer_{number}"), 0)
    rows = inputs[:, 13:].astype(np.int32) % config.num_embeddings
    table = params["embedding/embedding"].astype(np.float64)
    vectors = [x, *(table[rows[:, column]] for column in range(26))]
    dots = [
        (vectors[i] * vectors[j]).sum(axis=1) for i in range(27) for j in range(i, 27)
    ]
    y = np.concatenate([x, np.stack(dots, axis=1)], axis=1)
    for number in range(len(config.top)):
        y = np.maximum(dense(y, f"top/layer_{number}"), 0)
    return dense(y, "output")


def test_the_model_is_the_published_one():
    jax, _, _ = jax_variables(SMALL)
    from algoperf.workloads.criteo1tb import model_jax

    params = jax_params(SMALL)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 2**25, (6, 39)).astype(np.float32)
    inputs[:, :13] = rng.random((6, 13))
    tree = {}
    for path, array in params.items():
        *groups, leaf = path.split("/")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = array
    logits = jax.jit(
        lambda tree: model_jax.build(SMALL).apply(
            {"params": tree}, inputs, train=False, dropout_rate=0.0
        )
    )(tree)
    expected = numpy_dlrm(params, inputs, SMALL)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


VARIANTS = {
    "layernorm": dataclasses.replace(SMALL, layer_norm=True),
    "resnet": dataclasses.replace(
        SMALL, bottom=(8, 8, 8), top=(8, 8, 8), interaction="concatenate", residual=True
    ),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_compute_the_same_in_both_frameworks(variant):
    config = VARIANTS[variant]
    jax, init, key = jax_variables(config)
    torch = pytest.importorskip("torch")
    from flax.core import meta

    from algoperf.workloads.criteo1tb import model_jax, model_pytorch

    params = meta.unbox(jax.jit(init)(key))
    module = model_pytorch.build(config)
    state = {}
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        *groups, leaf = (entry.key for entry in path)
        array = np.asarray(value)
        array = array.T if leaf == "kernel" else array
        name = "bias" if leaf == "bias" else "weight"
        state[".".join([*groups, name])] = torch.tensor(array)
    module.load_state_dict(state)
    rng = np.random.default_rng(1)
    inputs = rng.integers(0, 2**25, (6, 39)).astype(np.float32)
    inputs[:, :13] = rng.random((6, 13))
    model = model_jax.build(config)
    theirs = jax.jit(
        lambda params: model.apply(
            {"params": params}, inputs, train=False, dropout_rate=0.0
        )
    )(params)
    ours = module(torch.tensor(inputs)).detach().numpy()
    assert ours.shape == (6, 1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_residual_layers_begin_with_the_second():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    config = VARIANTS["resnet"]
    mlp = model_pytorch.MLP(4, (8, 8), model_pytorch._xavier_normal(), config)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.zero_()
        mlp.layer_0.bias.fill_(3.0)
        mlp.layer_1.bias.fill_(2.0)
        assert (mlp(torch.zeros(1, 4)) == 5.0).all()


def test_the_model_compiles_without_graph_breaks():
    torch = pytest.importorskip("torch")
    from algoperf.workloads.criteo1tb import model_pytorch

    module = model_pytorch.build(VARIANTS["layernorm"])
    explained = torch._dynamo.explain(module)(torch.zeros(4, 39))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


@pytest.fixture(scope="module")
def mini_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("criteo1tb_mini")
    prepare.expand_embedded(path / "raw")
    with Preparation(
        path / "criteo1tb_mini", dataset="criteo1tb", format_version=1
    ) as preparation:
        prepare.prepare(path / "raw", preparation, splits=MINI.splits)
    return path / "criteo1tb_mini"


def test_memory_stays_flat_over_50_evaluations(mini_folder):
    psutil = pytest.importorskip("psutil")
    request = pipeline.DataRequest(
        mini_folder, "validation", MINI.splits, batch_size=1000, seed=0
    )

    def evaluate():
        opened = data.open_batches(request)
        return sum(opened.batch(i)["weights"].sum() for i in range(opened.num_batches))

    process = psutil.Process()
    for _ in range(10):
        evaluate()
    before, open_files = process.memory_info().rss, process.num_fds()
    for _ in range(50):
        assert evaluate() == 10_000
    assert process.memory_info().rss - before < 20e6
    assert process.num_fds() == open_files


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_full_size_model_starts_with_the_loss_of_its_bias(framework):
    """With 2 GiB of table; the output bias is N(0, 1), the other logits are small."""
    pytest.importorskip("flax" if framework == "jax" else "torch")
    from algoperf import backend as backends
    from algoperf import rulesets
    from algoperf.runner.randomness import key_numbers
    from algoperf.workload import Workload

    backend = backends.load(framework)
    model = registry.module("workloads", "criteo1tb", f"model_{framework}")
    workload = Workload(
        DEFINITION,
        backend,
        model,
        metrics,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )
    keys = backend.keys(key_numbers(0, "init"))
    params, state = workload.init_model_fn(keys[0])
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 2**25, (64, 39)).astype(np.float32)
    inputs[:, :13] = np.log1p(rng.geometric(0.1, (64, 13)))
    ones = np.ones((64, 1), np.float32)
    batch = {"inputs": inputs, "targets": 0 * ones, "weights": ones[:, 0]}
    outputs = workload.evaluate_batch(params, state, backend.place(batch))
    assert 0 < metrics.summarise([outputs])["loss"] < 5
