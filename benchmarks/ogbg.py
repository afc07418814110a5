"""Speed of the ogbg workload, as ratios to what is measured beside it.

    python benchmarks/ogbg.py pipeline    # graphs/s of one core, and of copying
    python benchmarks/ogbg.py metric      # mean average precision, and scikit-learn's

Graphs are made up, with the number and the mean sizes of ogbg-molpcba's.
"""

import argparse
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import shortest

from algoperf import pipeline
from algoperf.datasets.ogbg import reader
from algoperf.definition import Split
from algoperf.workloads.ogbg import data, metrics
from algoperf.workloads.ogbg.definition import DEFINITION

PUBLISHED_GRAPHS_PER_SECOND = 512 / 0.32  # training on 8 x V100, published logs
EVAL_BATCH_SIZE = DEFINITION.eval_batch_size_for("jax")
EVALUATED = DEFINITION.splits.validation


def made_up_molecules(num_graphs: int) -> reader.Molecules:
    """About 26 nodes and 28 bonds a graph, as the published means are."""
    rng = np.random.default_rng(0)
    num_nodes = rng.normal(26, 6.5, num_graphs).clip(4, 100).astype(np.int64)
    num_edges = 2 * (num_nodes + rng.integers(1, 4, num_graphs))
    node_offsets = np.concatenate([[0], np.cumsum(num_nodes)])
    edge_offsets = np.concatenate([[0], np.cumsum(num_edges)])
    edges = np.zeros(edge_offsets[-1], reader.EDGE)
    for field in ("sender", "receiver"):
        edges[field] = rng.integers(0, 4, len(edges))
    return reader.Molecules(
        nodes=rng.integers(0, 9, (node_offsets[-1], reader.NODE_FEATURES), np.uint8),
        edges=edges,
        labels=rng.choice([0, 1, reader.MISSING], (num_graphs, 128)).astype(np.uint8),
        node_offsets=node_offsets,
        edge_offsets=edge_offsets,
    )


def open_batches(split: Split, batch_size: int, num_graphs: int) -> data.GraphBatches:
    """Batches of made-up molecules."""
    request = pipeline.DataRequest(
        Path(), split, DEFINITION.splits, batch_size, seed=0, config=DEFINITION.data
    )
    return data.GraphBatches(request, made_up_molecules(num_graphs))


def arrays_of(batch: dict[str, Any]) -> list[np.ndarray]:
    """The arrays of a batch."""
    return [*batch["inputs"], *(v for k, v in batch.items() if k != "inputs")]


def count_graphs(batch: dict[str, Any]) -> int:
    """Real graphs: the last one of each part that has nodes is padding."""
    num_nodes = batch["inputs"].n_node
    return int((num_nodes > 0).sum()) - len(num_nodes)


def in_turns(
    ours: Callable[[], Any], other: Callable[[], Any], repeats: int = 9
) -> tuple[float, float]:
    """Seconds of the shortest run of each, so that both meet the machine alike."""
    times = [(shortest(ours, 1), shortest(other, 1)) for _ in range(repeats)]
    return min(time for time, _ in times), min(time for _, time in times)


def benchmark_pipeline(split: Split, size: int, number: int) -> None:
    """Batches a second of one core, beside a copy of the same batches.

    Once each batch is dropped before the next, so that both sides write to memory that
    was used before; once all are kept, so that both write to new memory.
    """
    opened = open_batches(split, size, DEFINITION.splits.size(split))
    start = time.process_time()
    opened.batch(0)
    first = time.process_time() - start
    batches = [arrays_of(opened.batch(i)) for i in range(number)]
    graphs = sum(count_graphs(opened.batch(i)) for i in range(number))

    def copy(arrays: list[np.ndarray]) -> list[np.ndarray]:
        return [array.copy() for array in arrays]

    made, copied = in_turns(
        lambda: deque(map(opened.batch, range(number)), maxlen=1),
        lambda: deque(map(copy, batches), maxlen=1),
    )
    made_anew, copied_anew = in_turns(
        lambda: list(map(opened.batch, range(number))),
        lambda: list(map(copy, batches)),
    )
    num_bytes = sum(array.nbytes for arrays in batches for array in arrays) / number
    print(
        f"{split}, batch {size:,}: {graphs / made:,.0f} graphs/s of one core, first "
        f"batch {first:.2f} s, {num_bytes / 1e6:.2f} MB a batch; "
        f"{graphs / made / PUBLISHED_GRAPHS_PER_SECOND:.0f} x what 8 x V100 consume in "
        f"training; {copied / made:.2f} of the speed of copying the same batches, "
        f"{copied_anew / made_anew:.2f} if all are kept ({graphs / made_anew:,.0f})"
    )


def benchmark_metric() -> None:
    """The metrics of a full evaluation split, beside scikit-learn's precisions."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    shape = EVALUATED, reader.NUM_TASKS
    logits = rng.normal(-4, 2, shape).astype(np.float32)
    labels = rng.random(shape) < rng.uniform(0.002, 0.05, shape[1])
    measured = rng.random(shape) < 0.6
    batch = {
        "logits": logits,
        "targets": labels.astype(np.float32),
        "weights": measured.astype(np.float32),
        "is_graph": np.ones(EVALUATED, bool),
        "loss": np.zeros(EVALUATED, np.float32),
    }
    scores = metrics.sigmoid(logits)

    def peer() -> list[float]:
        return [
            average_precision_score(labels[rows, task], scores[rows, task])
            for task, rows in enumerate(measured.T)
        ]

    ours, theirs = in_turns(lambda: metrics.summarise([batch]), peer)
    difference = metrics.summarise([batch])["mean_average_precision"] - np.mean(peer())
    print(
        f"metrics of {EVALUATED:,} x {reader.NUM_TASKS}: {ours:.3f} s, sigmoid, accuracy "
        f"and loss included; {theirs / ours:.0f} x faster than scikit-learn's average "
        f"precision alone ({theirs:.2f} s); difference {abs(difference):.0e}"
    )


def main() -> None:
    """Runs the part that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["pipeline", "metric"])
    options = parser.parse_args()
    if options.part == "pipeline":
        benchmark_pipeline("train", DEFINITION.default_batch_size, 100)
        benchmark_pipeline("validation", EVAL_BATCH_SIZE, 1)
    else:
        benchmark_metric()


if __name__ == "__main__":
    main()
