"""The `mnist` development workload: never scored, small enough for a CPU."""

from dataclasses import dataclass

from algoperf.definition import Limits, Splits, Target, Variant, WorkloadDefinition
from algoperf.spec import LossType


@dataclass(frozen=True)
class ModelConfig:
    """784 pixels -> `hidden_dim`, sigmoid -> `num_classes`."""

    hidden_dim: int = 128
    num_classes: int = 10


# Of pixels divided by 255; see data.py.
TRAIN_MEAN = 0.1307
TRAIN_STDDEV = 0.3081

# Published with v0.6; the same numbers serve the other rulesets.
_LIMITS = Limits(budget_seconds=60, step_hint=7_813)
_MINI_LIMITS = Limits(budget_seconds=15, step_hint=3_000)

DEFINITION = WorkloadDefinition(
    name="mnist",
    title="MNIST digits, multi-layer perceptron",
    dataset="mnist",
    target=Target("accuracy", validation=0.97, test=0.97),
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    splits=Splits(train=50_000, eval_train=10_000, validation=10_000, test=10_000),
    limits=dict.fromkeys(("v0.5", "v0.6", "v1.0"), _LIMITS),
    eval_period_seconds=10,
    eval_batch_size=10_000,
    default_batch_size=1_024,  # of the published development algorithm
    model=ModelConfig(),
    train_mean=(TRAIN_MEAN,),
    train_stddev=(TRAIN_STDDEV,),
    tier="development",
    # Threads do not pay at this size, and cost dearly where cores are shared.
    environment={"pytorch": {"OMP_NUM_THREADS": "1"}},
    mini=Variant(
        target=Target("accuracy", validation=0.9215, test=0.906),
        fields={
            "title": "5,000 MNIST digits, multi-layer perceptron",
            "splits": Splits(
                train=3_000, eval_train=1_000, validation=1_000, test=1_000
            ),
            "limits": dict.fromkeys(("v0.5", "v0.6", "v1.0"), _MINI_LIMITS),
            "eval_period_seconds": 0.5,
            "eval_batch_size": 1_000,
            "default_batch_size": 128,
        },
    ),
)
