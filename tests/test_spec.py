import ast
import inspect
from pathlib import Path

import numpy as np
import pytest

from algoperf import spec
from algoperf.errors import AlgoPerfError
from algoperf.workload import Workload

ROOT = Path(__file__).resolve().parents[1]
TRAINING = [
    "workload",
    "current_param_container",
    "current_params_types",
    "model_state",
]
SIGNATURES = {
    "get_batch_size": ["workload_name"],
    "init_optimizer_state": [
        "workload",
        "model_params",
        "model_state",
        "hyperparameters",
        "rng",
    ],
    "update_params": [
        *TRAINING,
        "hyperparameters",
        "batch",
        "loss_type",
        "optimizer_state",
        "eval_results",
        "global_step",
        "rng",
    ],
    "prepare_for_eval": [
        *TRAINING,
        "hyperparameters",
        "loss_type",
        "optimizer_state",
        "eval_results",
        "global_step",
        "rng",
    ],
    "data_selection": [
        "workload",
        "input_queue",
        "optimizer_state",
        "current_param_container",
        "model_state",
        "hyperparameters",
        "global_step",
        "rng",
    ],
}
WORKLOAD_MEMBERS = [name for name in vars(spec.Workload) if not name.startswith("_")]


def parameters(function) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_loss_types_have_the_published_values():
    assert {member.name: member.value for member in spec.LossType} == {
        "SOFTMAX_CROSS_ENTROPY": 0,
        "SIGMOID_CROSS_ENTROPY": 1,
        "MEAN_SQUARED_ERROR": 2,
        "CTC_LOSS": 3,
        "MEAN_ABSOLUTE_ERROR": 4,
        "MODEL_DEFINED": 5,  # this benchmark's own
    }


def test_forward_pass_modes_have_the_published_values():
    assert {member.name: member.value for member in spec.ForwardPassMode} == {
        "TRAIN": 0,
        "EVAL": 1,
    }


def test_parameter_types_have_the_published_names_in_their_order():
    names = (
        "WEIGHT BIAS CONV_WEIGHT BATCH_NORM_SCALE BATCH_NORM_BIAS LAYER_NORM_SCALE "
        "LAYER_NORM_BIAS EMBEDDING ATTENTION_Q ATTENTION_K ATTENTION_V ATTENTION_OUT "
        "ATTENTION_QKV ATTENTION_KV ATTENTION_BIAS"
    )
    members = {member.name: member.value for member in spec.ParameterType}
    assert members == {name: value for value, name in enumerate(names.split())}


@pytest.mark.parametrize("name", SIGNATURES)
def test_submission_functions_have_the_published_parameters(name):
    contract, _ = spec.SUBMISSION_FUNCTIONS[name]
    assert parameters(contract.__call__) == SIGNATURES[name]


def test_prepare_for_eval_alone_is_optional():
    assert spec.OPTIONAL_FUNCTIONS == ("prepare_for_eval",)
    assert set(spec.REQUIRED_FUNCTIONS) == set(SIGNATURES) - {"prepare_for_eval"}


@pytest.mark.parametrize("name", WORKLOAD_MEMBERS)
def test_the_workload_has_every_member_of_the_api(name):
    promised, made = getattr(spec.Workload, name), getattr(Workload, name)
    assert type(made) is type(promised)
    if inspect.isfunction(promised):
        assert inspect.signature(made).parameters.keys() == (
            inspect.signature(promised).parameters.keys()
        )


def test_the_api_has_every_published_member_of_a_workload():
    assert set(WORKLOAD_MEMBERS) == {
        "eval_batch_size",
        "eval_period_time_sec",
        "has_reached_test_target",
        "has_reached_validation_target",
        "init_model_fn",
        "is_output_params",
        "loss_fn",
        "loss_type",
        "max_allowed_runtime_sec",
        "model_fn",
        "model_params_types",
        "num_eval_train_examples",
        "num_test_examples",
        "num_train_examples",
        "num_validation_examples",
        "output_activation_fn",
        "param_shapes",
        "step_hint",
        "target_metric_name",
        "test_target_value",
        "train_mean",
        "train_stddev",
        "validation_target_value",
    }


def test_the_dropout_rate_may_be_left_out_of_model_fn():
    assert (
        inspect.signature(Workload.model_fn).parameters["dropout_rate"].default is None
    )


def test_a_shape_tuple_gives_its_shape_as_plain_integers():
    shape = spec.ShapeTuple((np.int64(3), 4))
    assert shape.shape_tuple == (3, 4)
    assert all(type(size) is int for size in shape.shape_tuple)


def test_shape_tuples_are_equal_and_hash_alike_when_their_shapes_are():
    assert spec.ShapeTuple((2, 3)) == spec.ShapeTuple((2, 3))
    assert hash(spec.ShapeTuple((2, 3))) == hash(spec.ShapeTuple((2, 3)))
    assert spec.ShapeTuple((2, 3)) != spec.ShapeTuple((3, 2))
    assert spec.ShapeTuple((2, 3)) != (2, 3)


def test_a_shape_tuple_is_no_branch_of_a_tree():
    assert not isinstance(spec.ShapeTuple((2, 3)), tuple | list | dict)


def test_training_complete_is_an_error_of_the_submission_not_of_the_user():
    assert issubclass(spec.TrainingCompleteError, Exception)
    assert not issubclass(spec.TrainingCompleteError, AlgoPerfError)


def defined_in(module) -> list[str]:
    """Public names that a module defines itself, in its order."""
    names = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def test_the_public_names_are_those_that_the_module_defines():
    assert spec.__all__ == defined_in(spec)


def test_submissions_use_public_names_only():
    paths = [
        *(ROOT / "submissions").rglob("*.py"),
        *(ROOT / "reference_algorithms").rglob("*.py"),
    ]
    used = {
        node.attr
        for path in paths
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "spec"
    }
    assert {"Workload", "Hyperparameters"} <= used
    assert used <= set(spec.__all__)
