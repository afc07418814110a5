"""The submission API: what a submission defines, and what it may call on a workload.

A submission is a Python file that defines the functions of `REQUIRED_FUNCTIONS` and may define
those of `OPTIONAL_FUNCTIONS`; their contracts are the protocols at the end of this file. It is
written for one framework, so arrays are `Any` here: `jax.Array` or `torch.Tensor`.
"""

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

# What submissions may import. Names that published submissions use are never removed.
__all__ = [
    "LossType",
    "ForwardPassMode",
    "ParameterType",
    "ShapeTuple",
    "TrainingCompleteError",
    "Tensor",
    "RandomState",
    "ParameterContainer",
    "ParameterShapeTree",
    "ParameterTypeTree",
    "ParameterKey",
    "ModelAuxiliaryState",
    "ModelInitState",
    "OptimizerState",
    "Hyperparameters",
    "Batch",
    "EvalResults",
    "Steps",
    "Timing",
    "UpdateReturn",
    "LossReturn",
    "MetricsLogger",
    "Workload",
    "GetBatchSize",
    "InitOptimizerState",
    "UpdateParams",
    "PrepareForEval",
    "DataSelection",
    "SUBMISSION_FUNCTIONS",
    "REQUIRED_FUNCTIONS",
    "OPTIONAL_FUNCTIONS",
    "InitModelFn",
]


class LossType(enum.Enum):
    """The loss of a workload; values are fixed by the published API."""

    SOFTMAX_CROSS_ENTROPY = 0
    SIGMOID_CROSS_ENTROPY = 1
    MEAN_SQUARED_ERROR = 2
    CTC_LOSS = 3
    MEAN_ABSOLUTE_ERROR = 4
    MODEL_DEFINED = 5  # not in the published API; no workload of the benchmark has it


class ForwardPassMode(enum.Enum):
    """Whether a forward pass trains (dropout, batch statistics) or evaluates."""

    TRAIN = 0
    EVAL = 1


class ParameterType(enum.Enum):
    """The role of a parameter tensor; values are fixed by the published API."""

    WEIGHT = 0
    BIAS = 1
    CONV_WEIGHT = 2
    BATCH_NORM_SCALE = 3
    BATCH_NORM_BIAS = 4
    LAYER_NORM_SCALE = 5
    LAYER_NORM_BIAS = 6
    EMBEDDING = 7
    ATTENTION_Q = 8
    ATTENTION_K = 9
    ATTENTION_V = 10
    ATTENTION_OUT = 11
    ATTENTION_QKV = 12
    ATTENTION_KV = 13
    ATTENTION_BIAS = 14


class ShapeTuple:
    """The shape of one parameter, as a leaf of `Workload.param_shapes`.

    A class of its own, because a bare tuple would be taken for a branch of the tree.
    """

    def __init__(self, shape_tuple: tuple[int, ...]) -> None:
        self.shape_tuple = tuple(int(size) for size in shape_tuple)

    def __repr__(self) -> str:
        return f"ShapeTuple({self.shape_tuple})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShapeTuple):
            return NotImplemented
        return self.shape_tuple == other.shape_tuple

    def __hash__(self) -> int:
        return hash(self.shape_tuple)


class TrainingCompleteError(Exception):
    """Raised by `update_params` to end the run; one last evaluation follows."""


Tensor = Any  # jax.Array or torch.Tensor
RandomState = Any  # JAX: raw key, uint32 [2]; PyTorch: numpy integers [2]
ParameterContainer = Any  # JAX: nested dict of arrays; PyTorch: torch.nn.Module
ParameterShapeTree = dict[str, Any]  # ShapeTuple leaves, structure of the parameters
ParameterTypeTree = dict[str, Any]  # ParameterType leaves, structure of the parameters
ParameterKey = str
ModelAuxiliaryState = Any  # batch statistics; None or {} where a model has none
ModelInitState = tuple[ParameterContainer, ModelAuxiliaryState]
OptimizerState = Any  # a pytree; in PyTorch stateful members have state_dict()
Hyperparameters = (
    Any  # namedtuple of one point of the search space; None in self-tuning
)
Batch = dict[str, Any]  # "inputs", "targets", "weights" (may be absent) and more
EvalResults = Sequence[tuple[int, Mapping[str, float]]]  # (global_step, metrics) so far
Steps = int
Timing = float  # seconds
UpdateReturn = tuple[OptimizerState, ParameterContainer, ModelAuxiliaryState]


class LossReturn(NamedTuple):
    """Documents the keys of the mapping that `Workload.loss_fn` returns."""

    summed: Tensor  # scalar: sum of per_example after masking
    # Scalar: the sum of the mask over all elements of per_example, without one their number
    # (CTC: the number of target tokens).
    n_valid_examples: Tensor
    # Loss of each example, 0 where masked: [batch], of sequences [batch, length], of several
    # labels [batch, labels].


class MetricsLogger(Protocol):
    """Where a submission may log training scalars; ends up in `measurements.csv`."""

    def append_scalar_metrics(
        self, metrics: Mapping[str, float], global_step: int
    ) -> None:
        """Adds one row: scalars by name, at a step."""
        ...


class Workload(Protocol):
    """What a submission is handed: the fixed functions and facts of one workload."""

    metrics_logger: MetricsLogger | None

    def init_model_fn(self, rng: RandomState) -> ModelInitState:
        """Freshly initialised parameters and model state, on the devices."""
        ...

    def model_fn(
        self,
        params: ParameterContainer,
        augmented_and_preprocessed_input_batch: Batch,
        model_state: ModelAuxiliaryState,
        mode: ForwardPassMode,
        rng: RandomState,
        update_batch_norm: bool,
        dropout_rate: Any = None,
    ) -> tuple[Tensor, ModelAuxiliaryState]:
        """Logits [batch, ...] and the new model state.

        `dropout_rate`: a float, a traced scalar, or None for the workload's default. It may
        change at every step without a recompile. `update_batch_norm=False` in TRAIN mode uses
        the batch's statistics and leaves the running ones untouched.
        """
        ...

    def loss_fn(
        self,
        label_batch: Tensor,
        logits_batch: Tensor,
        mask_batch: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Tensor]:
        """The loss on this process's part of the batch, as the keys of `LossReturn`.

        Takes logits, never probabilities; contains no regularisation; sums over no devices
        but those that hold the arrays it was given.
        """
        ...

    def output_activation_fn(
        self, logits_batch: Tensor, framework: str | None = None
    ) -> Tensor:
        """Probabilities or values from logits: softmax, sigmoid or identity, by loss type."""
        ...

    @property
    def param_shapes(self) -> ParameterShapeTree:
        """`ShapeTuple` leaves in the structure of the parameters."""
        ...

    @property
    def model_params_types(self) -> ParameterTypeTree:
        """`ParameterType` leaves in the structure of the parameters."""
        ...

    def is_output_params(self, param_key: ParameterKey) -> bool:
        """Whether `param_key` names a parameter (or group) of the output layer."""
        ...

    @property
    def step_hint(self) -> int:
        """About the number of steps that the budget allows: for schedules, not a limit."""
        ...

    @property
    def loss_type(self) -> LossType:
        """The loss that `loss_fn` computes."""
        ...

    @property
    def target_metric_name(self) -> str:
        """The metric, without split prefix, that the targets compare."""
        ...

    @property
    def validation_target_value(self) -> float:
        """The value that `validation/<metric>` must be strictly better than."""
        ...

    @property
    def test_target_value(self) -> float | None:
        """The value that `test/<metric>` must be strictly better than; None: no such target."""
        ...

    def has_reached_validation_target(self, eval_result: Mapping[str, float]) -> bool:
        """Whether an evaluation's metrics beat the validation target; NaN never does."""
        ...

    def has_reached_test_target(self, eval_result: Mapping[str, float]) -> bool:
        """Whether an evaluation's metrics beat the test target; NaN never does."""
        ...

    @property
    def num_train_examples(self) -> int:
        """Examples in the training split."""
        ...

    @property
    def num_eval_train_examples(self) -> int:
        """Training examples that an evaluation scores."""
        ...

    @property
    def num_validation_examples(self) -> int:
        """Examples in the validation split."""
        ...

    @property
    def num_test_examples(self) -> int:
        """Examples in the test split."""
        ...

    @property
    def eval_batch_size(self) -> int:
        """Global batch size of evaluations."""
        ...

    @property
    def eval_period_time_sec(self) -> float:
        """Seconds of submission time between evaluations."""
        ...

    @property
    def max_allowed_runtime_sec(self) -> float:
        """The runtime budget of this run, in seconds of submission time."""
        ...

    @property
    def train_mean(self) -> Any:
        """Per-channel mean of the training data; an error where not defined."""
        ...

    @property
    def train_stddev(self) -> Any:
        """Per-channel standard deviation of the training data; an error where not defined."""
        ...


class GetBatchSize(Protocol):
    def __call__(self, workload_name: str) -> int:
        """The global training batch size.

        A `ValueError` for a variant's name makes the harness ask again with the base name.
        """
        ...


class InitOptimizerState(Protocol):
    def __call__(
        self,
        workload: Workload,
        model_params: ParameterContainer,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        rng: RandomState,
    ) -> OptimizerState:
        """Whatever `update_params` wants to keep between steps."""
        ...


class UpdateParams(Protocol):
    def __call__(
        self,
        workload: Workload,
        current_param_container: ParameterContainer,
        current_params_types: ParameterTypeTree,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        batch: Batch,
        loss_type: LossType,
        optimizer_state: OptimizerState,
        eval_results: EvalResults,
        global_step: int,
        rng: RandomState,
    ) -> UpdateReturn:
        """One step. Also gets `train_state`, a read-only mapping, if its signature has it."""
        ...


class PrepareForEval(Protocol):
    def __call__(
        self,
        workload: Workload,
        current_param_container: ParameterContainer,
        current_params_types: ParameterTypeTree,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        loss_type: LossType,
        optimizer_state: OptimizerState,
        eval_results: EvalResults,
        global_step: int,
        rng: RandomState,
    ) -> UpdateReturn:
        """Timed; what it returns is evaluated, and training goes on from it."""
        ...


class DataSelection(Protocol):
    def __call__(
        self,
        workload: Workload,
        input_queue: Iterator[Batch],
        optimizer_state: OptimizerState,
        current_param_container: ParameterContainer,
        model_state: ModelAuxiliaryState,
        hyperparameters: Hyperparameters,
        global_step: int,
        rng: RandomState,
    ) -> Batch:
        """The batch of this step, from an endless iterator of shuffled batches."""
        ...


SUBMISSION_FUNCTIONS: Mapping[str, tuple[type, bool]] = {  # name: (contract, required)
    "get_batch_size": (GetBatchSize, True),
    "init_optimizer_state": (InitOptimizerState, True),
    "update_params": (UpdateParams, True),
    "data_selection": (DataSelection, True),
    "prepare_for_eval": (PrepareForEval, False),
}
REQUIRED_FUNCTIONS = tuple(n for n, (_, must) in SUBMISSION_FUNCTIONS.items() if must)
OPTIONAL_FUNCTIONS = tuple(
    n for n, (_, must) in SUBMISSION_FUNCTIONS.items() if not must
)

InitModelFn = Callable[[RandomState], ModelInitState]
