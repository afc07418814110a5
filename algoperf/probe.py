"""The contract between instruments and a framework: derivatives of a workload's loss.

What an example is, the workload's own loss says: a row of `loss_fn`'s `per_example`, summed
over its other axes (tokens, tasks), and counted if any of its weights is above 0. Its loss is
l_i = examples * summed_i / n_valid_examples, so that the mean of all l_i is the loss that is
minimised. Rows are images, sentences, graphs, utterances, or rows of packed tokens.

There are three implementations: `jax_backend/probe.py`, `pytorch_backend/probe.py`, and a
numpy one in `tests/toy/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from algoperf import parameter_loss, spec
from algoperf.errors import AlgoPerfError
from algoperf.histograms import Bins

# Arrays of the framework by the name of the parameter, in the shapes of the parameters.
Vector: TypeAlias = Mapping[str, Any]


class NotMeasurable(AlgoPerfError):
    """A quantity that this workload's loss does not have; the text says why."""


@dataclass(frozen=True, eq=False)
class Point:
    """Parameters and model state as they were: copies, that nothing changes any more."""

    values: Vector
    model_state: Any


@dataclass(frozen=True)
class Sample:
    """What determines the loss besides the parameters: a step's batch and its key."""

    batch: spec.Batch
    key: spec.RandomState


@dataclass(frozen=True)
class Wanted:
    """What shall be summed in one pass over the gradients of single examples."""

    directions: Sequence[Vector] = ()  # products with these
    norms: bool = True  # of the gradients; 0 if False
    squares: bool = False  # the sum of squares, element by element
    bins: Bins | None = None  # a histogram of all elements
    pair_bins: tuple[Bins, Bins] | None = None  # by gradient and by parameter


@dataclass(frozen=True)
class Sums:
    """Over the gradients g_i of single examples (not divided by their number)."""

    losses: np.ndarray  # l_i, float64 [examples]
    squared_norms: np.ndarray  # |g_i|^2, float64 [examples]
    products: np.ndarray  # g_i . direction, float64 [examples, directions]
    squares: Vector | None = None  # the sum of g_i^2
    largest: float = 0.0  # of all |g_ij|, where elements are counted
    counts: np.ndarray | None = None  # int64 [bins]
    pair_counts: Mapping[str, np.ndarray] | None = None  # by parameter: [bins, bins]


@dataclass(frozen=True)
class Relabelled:
    """A sample whose labels were drawn from the model's own predictions."""

    sample: Sample
    scale: float  # of a squared gradient, to make it a term of the GGN's diagonal


class Probe(Protocol):
    """Derivatives of the mean training loss of one workload at any point.

    All processes of a run call the same members in the same order, each with its part of the
    batch; results are those of the global batch, and equal on all.
    """

    names: Sequence[str]  # of the parameters
    num_parameters: int
    couples_examples: bool  # by batch norm: no example has a loss of its own
    routes: dict[str, str]  # how derivatives were taken, for the records

    def copy(self, params: Any, model_state: Any) -> Point:
        """Copies of what a submission holds, read from and never changed again."""
        ...

    def held(self, params: Any) -> Vector:
        """What a submission holds now, not copied: to be read at once."""
        ...

    def losses(self, point: Point, sample: Sample) -> np.ndarray:
        """l_i, float64 [examples]."""
        ...

    def gradient(self, point: Point, sample: Sample) -> tuple[np.ndarray, Vector]:
        """l_i, float64 [examples], and the mean gradient."""
        ...

    def slopes(
        self, point: Point, sample: Sample, directions: Sequence[Vector]
    ) -> tuple[np.ndarray, np.ndarray]:
        """l_i, float64 [examples], and g_i . direction, float64 [examples, directions].

        Where examples are coupled these are derivatives of the coupled losses, whose mean
        is the derivative of the mean loss all the same.
        """
        ...

    def individual(self, point: Point, sample: Sample, wanted: Wanted) -> Sums:
        """One pass over the gradients of single examples, in chunks; none is kept."""
        ...

    def hessian(self, point: Point, sample: Sample) -> Callable[[Vector], Vector]:
        """Products of the mean loss' Hessian with vectors."""
        ...

    def ggn(self, point: Point, sample: Sample) -> Callable[[Vector], Vector]:
        """Products of the generalised Gauss-Newton matrix with vectors."""
        ...

    def relabelled(self, point: Point, sample: Sample, seed: int) -> Relabelled:
        """Labels from the model's predictions, by numbers that the seed determines.

        NotMeasurable for losses that are no likelihood of such labels.
        """
        ...

    def copy_sample(self, sample: Sample) -> Sample:
        """A copy of a batch, which a submission might donate or change."""
        ...

    def dots(self, a: Vector, b: Vector) -> np.ndarray:
        """The inner product of each tensor, float64 [parameters]."""
        ...

    def combine(self, a: float, x: Vector, b: float, y: Vector) -> Vector:
        """a x + b y."""
        ...

    def from_numpy(self, arrays: Mapping[str, np.ndarray]) -> Vector:
        """A vector with these values."""
        ...

    def to_numpy(self, vector: Vector) -> dict[str, np.ndarray]:
        """The values of a vector."""
        ...


@dataclass(frozen=True)
class Objective:
    """The training loss of a workload, as a function of the framework's arrays."""

    workload: spec.Workload
    dropout_rate: float | None = None  # None: the workload's default
    label_smoothing: float = 0.0

    def outputs(self, params: Any, model_state: Any, batch: Any, key: Any) -> Any:
        """What `model_fn` returns in training; running statistics are left alone."""
        logits, _ = self.workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            key,
            update_batch_norm=False,
            dropout_rate=self.dropout_rate,
        )
        return logits

    def logits(self, params: Any, model_state: Any, batch: Any, key: Any) -> Any:
        """`outputs` without the loss' term of the parameters, if it has one."""
        return parameter_loss.split(self.outputs(params, model_state, batch, key))[0]

    def summed(self, outputs: Any, batch: Any) -> tuple[Any, Any]:
        """The loss of each row, [rows], not yet normalised; and what it is divided by."""
        loss = self.workload.loss_fn(
            batch["targets"], outputs, batch.get("weights"), self.label_smoothing
        )
        rows = loss["per_example"]
        summed = rows.reshape((rows.shape[0], -1)).sum(-1)
        return summed, loss["n_valid_examples"]

    def __call__(
        self, params: Any, model_state: Any, batch: Any, key: Any
    ) -> tuple[Any, Any]:
        """`summed` of `outputs`; a term of the parameters is in the loss of each row."""
        return self.summed(self.outputs(params, model_state, batch, key), batch)

    @property
    def uses_dropout(self) -> bool:
        """Whether a training pass may drop anything."""
        rate = self.dropout_rate
        if rate is None:
            definition = getattr(self.workload, "definition", None)
            rate = getattr(definition, "default_dropout_rate", None)
        return bool(rate)


def counted_rows(weights: Any, num_rows: int) -> np.ndarray:
    """Which rows hold an example, bool [rows]: those with a weight above 0."""
    if weights is None:
        return np.ones(num_rows, bool)
    array = np.asarray(weights)
    is_counted: np.ndarray = array.reshape(len(array), -1).max(-1) > 0
    return is_counted


def leading_size(leaves: Sequence[Any]) -> int:
    """The number of rows that all these arrays have; 0 where they differ."""
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    return sizes.pop() if len(sizes) == 1 else 0


def norms(probe: Probe, vector: Vector) -> np.ndarray:
    """The Euclidean norm of each tensor, float64 [parameters]."""
    found: np.ndarray = np.sqrt(np.maximum(probe.dots(vector, vector), 0.0))
    return found


def scaled(probe: Probe, factor: float, vector: Vector) -> Vector:
    """A vector times a number."""
    return probe.combine(factor, vector, 0.0, vector)


class _HasArrays(Protocol):
    def from_numpy(self, arrays: Mapping[str, np.ndarray]) -> Vector: ...


def random_signs(probe: _HasArrays, like: Vector, seed: int) -> Vector:
    """A vector of -1 and 1, determined by the seed."""
    random = np.random.default_rng(seed)
    return probe.from_numpy(
        {
            name: (2.0 * random.integers(0, 2, tuple(array.shape)) - 1).astype("f4")
            for name, array in like.items()
        }
    )


def draw_labels(
    loss_type: spec.LossType,
    predict: Callable[[], Any],
    uniforms: Callable[..., Any],
) -> Any:
    """Labels from predicted probabilities, in any framework.

    predict: the `output_activation_fn` of the logits; uniforms(shape): numbers in [0, 1)
    as an array of the framework.
    """
    if loss_type is spec.LossType.SOFTMAX_CROSS_ENTROPY:
        predictions = predict()
        chances = predictions.cumsum(-1)
        drawn = uniforms(tuple(predictions.shape[:-1]))[..., None]
        # The last sum may be below 1 by rounding.
        return (chances[..., :-1] < drawn).sum(-1)
    if loss_type is spec.LossType.SIGMOID_CROSS_ENTROPY:
        predictions = predict()
        return uniforms(tuple(predictions.shape)) < predictions
    raise NotMeasurable(
        f"labels cannot be drawn from a model's predictions for {loss_type.name}: the "
        "Monte-Carlo diagonal of the GGN needs softmax or sigmoid cross-entropy, or squared "
        "errors"
    )


def ggn_scale(num_examples: int, num_valid: float) -> float:
    """What a mean of squared gradients is divided by; see `Relabelled`.

    A row's loss has the factor examples / n_valid, which its squared gradient has twice.
    """
    return num_examples / num_valid
