"""The numbers of the ogbg workload, and its dynamic batching."""

import dataclasses

import numpy as np
import pytest

from algoperf import registry, spec
from algoperf.errors import BadSettings
from algoperf.workloads.ogbg.definition import DEFINITION, DataConfig, ModelConfig
from algoperf.workloads.ogbg.packing import Budget, Plan

PARTS = DEFINITION.data.parts


def test_published_numbers():
    by_ruleset = {
        name: (li.budget_seconds, li.step_hint)
        for name, li in DEFINITION.limits.items()
    }
    assert by_ruleset == {
        "v0.5": (18_477, 80_000),
        "v0.6": (12_011, 52_000),
        "v1.0": (11_303, 52_000),
    }
    assert (DEFINITION.target.validation, DEFINITION.target.test) == (0.28098, 0.268729)
    assert dataclasses.astuple(DEFINITION.splits) == (350_343, 43_793, 43_793, 43_793)
    assert (DEFINITION.eval_batch_size, DEFINITION.eval_period_seconds) == (32_768, 240)
    assert DEFINITION.default_dropout_rate == 0.1
    assert DEFINITION.loss_type is spec.LossType.SIGMOID_CROSS_ENTROPY


@pytest.mark.parametrize(
    ("name", "validation", "test", "model"),
    [
        ("gelu", 0.27771, 0.262926, ModelConfig(activation="gelu")),
        ("silu", 0.282178, 0.272144, ModelConfig(activation="silu")),
        ("model_size", 0.269446, 0.253051, ModelConfig(128, (256, 256), 3)),
    ],
)
def test_variants_are_the_published_ones(name, validation, test, model):
    variant = registry.definition(f"ogbg_{name}")
    assert (variant.target.validation, variant.target.test) == (validation, test)
    assert variant.model == model
    assert variant.limits == DEFINITION.limits


@pytest.mark.parametrize(
    ("batch_size", "budget"),
    [(512, Budget(1_665, 3_584, 65)), (32_768, Budget(106_497, 229_376, 4_097))],
)
def test_budgets_are_those_of_one_of_eight_published_devices(batch_size, budget):
    assert Budget.of(batch_size, DEFINITION.data) == budget


def plan(num_nodes, num_edges, batch_size, order=None, config=None):
    return Plan(
        np.array(num_nodes),
        np.array(num_edges),
        batch_size=batch_size,
        config=config or DataConfig(),
        order=order,
    )


def filled_one_by_one(sizes, budget, limits):
    """The rule of dynamic batching in plain words: an oracle for `Plan`."""
    starts, position = [0], 0
    while position < len(sizes):
        nodes = edges = graphs = 0
        limit = limits[(len(starts) - 1) % len(limits)]
        while position < len(sizes) and graphs < limit:
            more_nodes, more_edges = sizes[position]
            if (
                nodes + more_nodes > budget.nodes - 1
                or edges + more_edges > budget.edges
            ):
                break
            nodes, edges, graphs = nodes + more_nodes, edges + more_edges, graphs + 1
            position += 1
        starts.append(position)
    return starts


@pytest.mark.parametrize("mean_nodes", [13, 26, 30])
def test_parts_are_filled_one_after_the_other_as_long_as_a_graph_fits(mean_nodes):
    rng = np.random.default_rng(mean_nodes)
    nodes = rng.integers(1, 2 * mean_nodes, 1_000)
    edges = 2 * (nodes + rng.integers(-1, 4, 1_000)).clip(0)
    made = plan(nodes, edges, batch_size=64)
    sizes = list(zip(nodes.tolist(), edges.tolist(), strict=True))
    expected = filled_one_by_one(sizes, made.budget, [8] * 8)
    starts = made.starts(0, made.num_batches * PARTS)
    np.testing.assert_array_equal(starts[: len(expected)], expected)
    assert (starts[len(expected) :] == 1_000).all()


def test_a_batch_size_that_the_parts_do_not_divide_is_the_limit_of_all_of_them():
    made = plan([1] * 100, [0] * 100, batch_size=13)
    assert np.diff(made.starts(0, PARTS)).tolist() == [1, 2, 1, 2, 2, 1, 2, 2]
    assert made.num_batches == 8


def test_the_stream_of_training_goes_on_over_the_end_of_an_epoch():
    rng = np.random.default_rng(0)
    nodes = rng.integers(1, 40, 50)
    orders = [np.random.default_rng(e).permutation(50) for e in range(12)]
    made = plan(nodes, 2 * nodes, 16, order=lambda epoch: orders[epoch])
    stream = np.concatenate(orders[:10])
    sizes = [(n, 2 * n) for n in nodes[stream].tolist()]
    expected = filled_one_by_one(sizes, made.budget, [2] * 8)[:-1]
    np.testing.assert_array_equal(made.starts(0, len(expected) - 1), expected)
    np.testing.assert_array_equal(made.graphs(37, 261), stream[37:261])


def test_a_plan_does_not_depend_on_the_order_of_questions():
    nodes = np.random.default_rng(0).integers(1, 40, 50)

    def made():
        return plan(
            nodes, 2 * nodes, 16, order=lambda epoch: np.roll(np.arange(50), epoch)
        )

    late, early = made(), made()
    last = late.starts(900, 950)
    for first in range(0, 950, 7):
        early.starts(first, first + 7)
    np.testing.assert_array_equal(early.starts(900, 950), last)


@pytest.mark.parametrize(("nodes", "edges"), [(53, 4), (4, 114)])
def test_a_graph_larger_than_the_budget_is_an_error_that_names_the_least_batch_size(
    nodes, edges
):
    message = "Graph 1 has (53 nodes|114 edges).*batch of 16 .* at least 24"
    with pytest.raises(BadSettings, match=message):
        plan([5, nodes, 6], [8, edges, 8], batch_size=16)
