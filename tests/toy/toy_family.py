"""A family of workloads in one folder, in numpy, with all that a definition may ask for.

`toy_walk` follows a noisy series: its state is carried from batch to batch, its evaluation draws,
its loss is its own and has a term of the parameters; it is trained by epochs of full batches on
data that are computed. `toy_walk_long` differs in its number of epochs.

One module stands for definitions.py, data.py, metrics.py and model_toy.py of a family's folder.
"""

import dataclasses

import numpy as np

from algoperf.definition import Epochs, Limits, Splits, Target, WorkloadDefinition
from algoperf.pipeline import Batches, DataRequest, ExampleBatches
from algoperf.spec import LossType

L2 = 0.25
SPLITS = Splits(train=22, eval_train=8, validation=11, test=9)
_WALK = WorkloadDefinition(
    name="toy_walk",
    title="A series that is followed",
    dataset="",
    folder="toy_family",
    target=Target("loss", validation=0.0, test=0.0, better="lower"),
    loss_type=LossType.MODEL_DEFINED,
    splits=SPLITS,
    limits={"v0.5": Limits(budget_seconds=100, step_hint=100)},
    eval_period_seconds=10,
    eval_batch_size=4,
    default_batch_size=4,
    model=None,
    tier="development",
    epochs=Epochs(2),
    drop_last_batch=True,
    draws_in_evaluation=True,
)
DEFINITIONS = (
    _WALK,
    dataclasses.replace(
        _WALK, name="toy_walk_long", base_name="toy_walk_long", epochs=Epochs(3)
    ),
)


class _Walk:
    """Adds to a batch whether the carry starts anew with it."""

    def __init__(self, batches: ExampleBatches, of_epoch: int) -> None:
        self.batches = batches
        self.of_epoch = of_epoch
        self.num_batches = batches.num_batches

    def batch(self, index: int) -> dict[str, np.ndarray]:
        batch = dict(self.batches.batch(index))
        is_first = index % self.of_epoch == 0
        return {**batch, "starts": np.full(len(batch["inputs"]), is_first)}


def open_batches(request: DataRequest) -> Batches:
    size = request.splits.size(request.split)
    series = np.random.default_rng(size).standard_normal(size)

    def read(ids: np.ndarray, epochs: np.ndarray) -> dict[str, np.ndarray]:
        return {"inputs": series[ids]}

    return _Walk(ExampleBatches(request, read), size // request.batch_size)


def build(config: None) -> dict[str, np.ndarray]:
    return {"weight": np.zeros(1)}


def initial_carry(config: None) -> dict[str, np.ndarray]:
    return {"sum": np.zeros(0)}


def parameter_loss(params, config: None) -> float:
    return 0.5 * L2 * float((params["weight"] ** 2).sum())


def forward(params, batch, mode, rng, carry):
    inputs = batch["inputs"]
    before = carry["sum"] if len(carry["sum"]) == len(inputs) else 0 * inputs
    total = np.where(batch["starts"], 0.0, before) + inputs
    noise = np.random.default_rng(np.asarray(rng)).standard_normal(len(inputs))
    return total * params["weight"] + 0.01 * noise, {"sum": total}


def example_losses(xp, labels, logits):
    return (logits - 1.0) ** 2


def outputs(xp, logits, batch, per_example):
    return {"loss": per_example, "logits": logits, "weights": batch["weights"]}


def summarise(parts) -> dict[str, float]:
    parts = list(parts)
    count = sum(float(part["weights"].sum()) for part in parts)
    total = sum(float(part["loss"].sum()) for part in parts)
    last = float(parts[-1]["logits"][-1])
    return {"loss": total / count, "last": last, "num_examples": count}
