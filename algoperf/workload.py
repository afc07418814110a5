"""The workload that a submission is handed: definition + model + backend."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from algoperf import parameter_loss, spec
from algoperf.backend import Arrays, Backend, BoundModel, MetricsModule, ModelModule
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings
from algoperf.rulesets import Ruleset, TuningRuleset


class Workload:
    """Implements `spec.Workload` for every workload and framework. Nobody subclasses it.

    Once made it is read-only, but for `metrics_logger`.
    """

    def __init__(
        self,
        definition: WorkloadDefinition,
        backend: Backend,
        model: ModelModule,
        metrics: MetricsModule,
        *,
        ruleset: Ruleset,
        tuning: TuningRuleset,
        limits_factor: float = 1.0,
    ) -> None:
        """`limits_factor` shortens budget and step hint: targets are set in less time."""
        self.definition = definition
        self.metrics_logger: spec.MetricsLogger | None = None
        self._backend = backend
        self._model: BoundModel = backend.bind(definition, model, metrics)
        limits = definition.limits_of(ruleset)
        self._eval_period_seconds = definition.eval_period_for(ruleset)
        self._step_hint = int(limits_factor * limits.step_hint)
        factor = limits_factor * ruleset.budget_factor(tuning)
        self._budget_seconds = factor * limits.budget_seconds
        self._is_complete = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "metrics_logger" and "_is_complete" in self.__dict__:
            raise AttributeError(
                f"workload.{name} belongs to the benchmark and cannot be changed."
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(
            f"workload.{name} belongs to the benchmark and cannot be removed."
        )

    @property
    def name(self) -> str:
        """The workload's name, variant included."""
        return self.definition.name

    def init_model_fn(self, rng: spec.RandomState) -> spec.ModelInitState:
        """See `spec.Workload`."""
        return self._model.init(rng)

    def model_fn(
        self,
        params: spec.ParameterContainer,
        augmented_and_preprocessed_input_batch: spec.Batch,
        model_state: spec.ModelAuxiliaryState,
        mode: spec.ForwardPassMode,
        rng: spec.RandomState,
        update_batch_norm: bool,
        dropout_rate: Any = None,
    ) -> tuple[Any, Any]:
        """See `spec.Workload`."""
        if dropout_rate is None:
            dropout_rate = self.definition.default_dropout_rate or 0.0
        return self._model.forward(
            params,
            augmented_and_preprocessed_input_batch,
            model_state,
            mode,
            rng,
            update_batch_norm,
            dropout_rate,
        )

    def loss_fn(
        self,
        label_batch: spec.Tensor,
        logits_batch: spec.Tensor,
        mask_batch: spec.Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> dict[str, Any]:
        """See `spec.Workload`."""
        if self.definition.ignores_label_smoothing:
            label_smoothing = 0.0
        return self._model.loss(label_batch, logits_batch, mask_batch, label_smoothing)

    def output_activation_fn(
        self, logits_batch: spec.Tensor, framework: str | None = None
    ) -> spec.Tensor:
        """See `spec.Workload`."""
        logits, _ = parameter_loss.split(logits_batch)
        return self._backend.output_activation(self.loss_type, logits)

    def check_params(self, params: spec.ParameterContainer) -> None:
        """Harness only: see `BoundModel.check_params`."""
        self._model.check_params(params)

    def isolated(self, params: Any, model_state: Any) -> tuple[Any, Any]:
        """Harness only: see `BoundModel.isolate`."""
        return self._model.isolate(params, model_state)

    def evaluate_batch(
        self, params: Any, model_state: Any, batch: Any, key: Any = None
    ) -> Any:
        """Harness only: the first batch of a pass; see `evaluation_pass`."""
        return self.evaluation_pass(params, model_state)(batch, key)

    def evaluation_pass(
        self, params: Any, model_state: Any
    ) -> Callable[[Any, Any], Arrays]:
        """Harness only: evaluates the batches of a split in their order, given their keys.

        What a model carries from batch to batch starts anew; see `BoundModel.evaluate`.
        """
        state = self._model.without_carry(model_state)

        def evaluate(batch: Any, key: Any) -> Arrays:
            nonlocal state
            outputs, state = self._model.evaluate(params, state, batch, key)
            return outputs

        return evaluate

    @property
    def param_shapes(self) -> spec.ParameterShapeTree:
        """See `spec.Workload`."""
        return self._model.param_shapes

    @property
    def model_params_types(self) -> spec.ParameterTypeTree:
        """See `spec.Workload`."""
        return self._model.param_types

    def is_output_params(self, param_key: spec.ParameterKey) -> bool:
        """See `spec.Workload`."""
        return self._model.is_output_param(param_key)

    @property
    def step_hint(self) -> int:
        """See `spec.Workload`."""
        return self._step_hint

    @property
    def loss_type(self) -> spec.LossType:
        """See `spec.Workload`."""
        return self.definition.loss_type

    @property
    def target_metric_name(self) -> str:
        """See `spec.Workload`."""
        return self.definition.target.metric

    @property
    def validation_target_value(self) -> float:
        """See `spec.Workload`."""
        return self.definition.target.validation

    @property
    def test_target_value(self) -> float | None:
        """See `spec.Workload`."""
        return self.definition.target.test

    def has_reached_validation_target(self, eval_result: Mapping[str, float]) -> bool:
        """See `spec.Workload`."""
        return self.definition.target.reached(eval_result, "validation")

    def has_reached_test_target(self, eval_result: Mapping[str, float]) -> bool:
        """See `spec.Workload`."""
        return self.definition.target.reached(eval_result, "test")

    @property
    def num_train_examples(self) -> int:
        """See `spec.Workload`."""
        return self.definition.splits.train

    @property
    def num_eval_train_examples(self) -> int:
        """See `spec.Workload`."""
        return self.definition.splits.eval_train

    @property
    def num_validation_examples(self) -> int:
        """See `spec.Workload`."""
        return self.definition.splits.validation

    @property
    def num_test_examples(self) -> int:
        """See `spec.Workload`."""
        return self.definition.splits.test

    @property
    def eval_batch_size(self) -> int:
        """See `spec.Workload`."""
        return self.definition.eval_batch_size_for(self._backend.name)

    @property
    def eval_period_time_sec(self) -> float:
        """See `spec.Workload`."""
        return self._eval_period_seconds

    @property
    def max_allowed_runtime_sec(self) -> float:
        """See `spec.Workload`."""
        return self._budget_seconds

    @property
    def train_mean(self) -> Any:
        """See `spec.Workload`."""
        return self._statistic("train_mean")

    @property
    def train_stddev(self) -> Any:
        """See `spec.Workload`."""
        return self._statistic("train_stddev")

    def _statistic(self, name: str) -> Any:
        value = getattr(self.definition, name)
        if value is None:
            raise NotImplementedError(
                f"{self.name} defines no {name}; only image workloads do."
            )
        return value[0] if len(value) == 1 else list(value)

    def _build_input_queue(self, *_: Any, **__: Any) -> Iterator[spec.Batch]:
        """Exists to say that submissions may not build input queues of their own."""
        raise BadSettings(
            "A submission may not call workload._build_input_queue: it draws batches from "
            "the input_queue that data_selection is given."
        )
