"""Speed of the ogbg workload, as ratios to what is measured beside it.

    python benchmarks/ogbg.py pipeline    # graphs/s of one core, and of copying
    python benchmarks/ogbg.py metric      # mean average precision, and scikit-learn's

Graphs are made up, with the number and the mean sizes of ogbg-molpcba's.
"""

import argparse
import time
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


def benchmark_pipeline(split: Split, size: int, number: int) -> None:
    """Batches a second of one core, beside a copy of the same batches.

    All of them are kept until the end, as a queue keeps some: both sides write to
    memory that is new.
    """
    opened = open_batches(split, size, DEFINITION.splits.size(split))
    start = time.process_time()
    opened.batch(0)
    first = time.process_time() - start
    batches = [opened.batch(i) for i in range(number)]
    arrays = [array for batch in batches for array in arrays_of(batch)]
    made = shortest(lambda: [opened.batch(i) for i in range(number)])
    copied = shortest(lambda: [array.copy() for array in arrays])
    rate = sum(map(count_graphs, batches)) / made
    num_bytes = sum(array.nbytes for array in arrays) / number
    print(
        f"{split}, batch {size:,}: {rate:,.0f} graphs/s of one core, first batch "
        f"{first:.2f} s, {num_bytes / 1e6:.2f} MB a batch; "
        f"{rate / PUBLISHED_GRAPHS_PER_SECOND:.0f} x what 8 x V100 consume in "
        f"training; {copied / made:.2f} of the speed of copying the same batches"
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

    ours, theirs = shortest(lambda: metrics.summarise([batch])), shortest(peer, 3)
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
