"""Workloads of a few lines in both frameworks: what drives the algorithms under test.

`Given*`: the batch holds the gradients (at 0, where there is a curvature).
`Softmax*`: softmax regression with a mask.
"""

import collections
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from algoperf import spec
from algoperf.spec import ParameterType

NUM_CLASSES = 3
RNG = np.array([0, 1], np.uint32)


GIVEN_TYPES = {  # by the names of `update_rule_oracles.SHAPES`
    "bias": ParameterType.BIAS,
    "conv": ParameterType.CONV_WEIGHT,
    "head": ParameterType.WEIGHT,
    "kernel": ParameterType.WEIGHT,
    "kernel_2": ParameterType.ATTENTION_OUT,
    "query": ParameterType.ATTENTION_Q,
}
LINEAR_TYPES = {"bias": ParameterType.BIAS, "kernel": ParameterType.WEIGHT}


class ScalarRecorder:
    """A metrics logger that keeps what it was given."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def append_scalar_metrics(
        self, metrics: Mapping[str, float], global_step: int
    ) -> None:
        self.rows.append((global_step, dict(metrics)))


class Recorder:
    """Remembers how a submission called the fixed functions; subclasses compute."""

    loss_type = spec.LossType.SOFTMAX_CROSS_ENTROPY
    model_params_types: Mapping[str, ParameterType] = LINEAR_TYPES
    curvature = 0.0

    def __init__(self, step_hint: int = 16) -> None:
        self.step_hint = step_hint
        self.metrics_logger: ScalarRecorder | None = None
        self.forward_calls: list[dict[str, Any]] = []
        self.label_smoothings: list[float] = []

    def logits(self, params, inputs):
        raise NotImplementedError

    def per_example(self, labels, logits, label_smoothing):
        raise NotImplementedError

    def is_output_params(self, key: str) -> bool:
        return key == "head"

    def model_fn(self, params, batch, model_state, mode, rng, **options):
        assert mode is spec.ForwardPassMode.TRAIN
        self.forward_calls.append(options)
        return self.logits(params, batch["inputs"]), model_state

    def loss_fn(self, labels, logits, mask_batch=None, label_smoothing=0.0):
        self.label_smoothings.append(label_smoothing)
        per_example = self.per_example(labels, logits, label_smoothing)
        num_valid = len(per_example)
        if mask_batch is not None:
            per_example, num_valid = per_example * mask_batch, mask_batch.sum()
        return {
            "summed": per_example.sum(),
            "n_valid_examples": num_valid,
            "per_example": per_example,
        }


class GivenGradientsJax(Recorder):
    """The gradient of the loss is the batch's inputs, a tree like the parameters."""

    model_params_types = GIVEN_TYPES

    def logits(self, params, inputs):
        c = self.curvature
        terms = [p * inputs[name] + c / 2 * p * p for name, p in params.items()]
        return sum(term.sum() for term in terms)[None]

    def per_example(self, labels, logits, label_smoothing):
        return logits


class GivenGradientsPytorch(Recorder):
    """The same for a module whose parameters have the names of the batch's inputs."""

    model_params_types = GIVEN_TYPES

    def logits(self, params, inputs):
        c, named = self.curvature, params.named_parameters()
        terms = [p * inputs[name] + c / 2 * p * p for name, p in named]
        return sum(term.sum() for term in terms)[None]

    def per_example(self, labels, logits, label_smoothing):
        return logits


class SoftmaxJax(Recorder):
    """Softmax regression on {kernel, bias}."""

    def logits(self, params, inputs):
        return inputs @ params["kernel"] + params["bias"]

    def per_example(self, labels, logits, label_smoothing):
        import jax

        one_hot = jax.nn.one_hot(labels, NUM_CLASSES)
        soft = (1 - label_smoothing) * one_hot + label_smoothing / NUM_CLASSES
        return -(soft * jax.nn.log_softmax(logits)).sum(-1)


class SoftmaxPytorch(Recorder):
    """Softmax regression on a `torch.nn.Linear`, or one in DistributedDataParallel."""

    model_params_types: Mapping[str, ParameterType] = {
        "bias": ParameterType.BIAS,
        "weight": ParameterType.WEIGHT,
        "module.bias": ParameterType.BIAS,
        "module.weight": ParameterType.WEIGHT,
    }

    def logits(self, params, inputs):
        return params(inputs)

    def per_example(self, labels, logits, label_smoothing):
        import torch

        return torch.nn.functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=label_smoothing
        )


def submission(algorithm: str, framework: str) -> ModuleType:
    """A reference algorithm's module."""
    name = f"algoperf.reference_algorithms.{algorithm}.submission_{framework}"
    return importlib.import_module(name)


def hyperparameters(point: Mapping[str, float]) -> Any:
    """A point as the harness hands it over."""
    return collections.namedtuple("Hyperparameters", point)(**point)


def start(module: ModuleType, workload: Any, params: Any, point: Any) -> Any:
    """`init_optimizer_state`, called as the harness does."""
    return module.init_optimizer_state(workload, params, None, point, RNG)


def step(
    module: ModuleType,
    workload: Any,
    params: Any,
    point: Any,
    batch: Any,
    state: Any,
    global_step: int,
) -> tuple[Any, Any]:
    """`data_selection` and `update_params`; returns the state and the parameters."""
    batch = module.data_selection(
        workload, iter([batch]), state, params, None, point, global_step, RNG
    )
    state, params, _ = module.update_params(
        workload=workload,
        current_param_container=params,
        current_params_types={},
        model_state=None,
        hyperparameters=point,
        batch=batch,
        loss_type=workload.loss_type,
        optimizer_state=state,
        eval_results=[],
        global_step=global_step,
        rng=RNG,
    )
    return state, params


def classification_batch(num_examples: int = 16) -> dict[str, np.ndarray]:
    """Separable clusters of three classes; the first quarter and half the rest count.

    inputs: [batch, 4] float32; targets: [batch] int64; weights: [batch] float32.
    """
    rng = np.random.default_rng(0)
    targets = rng.integers(0, NUM_CLASSES, num_examples)
    inputs = np.eye(4)[targets] + 0.3 * rng.normal(size=(num_examples, 4))
    weights = np.ones(num_examples)
    weights[num_examples // 4 :: 2] = 0.0
    return {
        "inputs": inputs.astype(np.float32),
        "targets": targets,
        "weights": weights.astype(np.float32),
    }


def global_mean_gradient(batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float64 gradient of the mean over valid examples, at zero parameters.

    kernel: [4, classes]; bias: [classes].
    """
    one_hot = np.eye(NUM_CLASSES)[batch["targets"]]
    weights = batch["weights"].astype(np.float64)
    residuals = (1 / NUM_CLASSES - one_hot) * weights[:, None] / weights.sum()
    return {"kernel": batch["inputs"].T @ residuals, "bias": residuals.sum(0)}


# One step of descent with rate 1: from 0, the new parameters are minus the gradient.
PLAIN_DESCENT: Mapping[str, float] = {
    "learning_rate": 1.0,
    "one_minus_beta1": 1.0,
    "weight_decay": 0.0,
    "warmup_factor": 0.0,
    "decay_steps_factor": 1.0,
    "end_factor": 1.0,
}
