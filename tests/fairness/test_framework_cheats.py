"""What cheats attach to parameters or set in a framework, in the real backends."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, rulesets
from algoperf.errors import BadSubmission
from algoperf.runner.fairness.guards import Guards
from algoperf.runner.randomness import ProcessRandomness
from algoperf.workload import Workload

WORKLOAD = "mnist_mini"


class Bound:
    """mnist_mini in one framework, its parameters, and one evaluation batch."""

    def __init__(self, framework: str) -> None:
        self.backend = backends.load(framework)
        definition = registry.definition(WORKLOAD)
        self.workload = Workload(
            definition,
            self.backend,
            registry.workload_part(definition, f"model_{framework}"),
            registry.workload_part(definition, "metrics"),
            ruleset=rulesets.ruleset("paper"),
            tuning="external",
        )
        numbers = np.array([[1, 2]], np.uint32)
        self.params, self.state = self.workload.init_model_fn(
            self.backend.keys(numbers)[0]
        )
        rng = np.random.default_rng(0)
        self.batch = self.backend.place(
            {
                "inputs": rng.standard_normal((8, 28, 28, 1), np.float32),
                "targets": rng.integers(0, 10, 8),
                "weights": np.ones(8, np.float32),
            }
        )

    def loss(self, params: Any) -> np.ndarray:
        """Losses of an evaluation as the harness does it, [batch]."""
        params, state = self.workload.isolated(params, self.state)
        return self.workload.evaluate_batch(params, state, self.batch)["loss"]


@pytest.fixture
def torch() -> ModuleType:
    return pytest.importorskip("torch")


@pytest.fixture
def pytorch(torch: ModuleType) -> Bound:
    return Bound("pytorch")


@pytest.fixture(scope="module")
def jax() -> Bound:
    pytest.importorskip("flax")
    return Bound("jax")


HOOKS: dict[str, Callable[[Any], Any]] = {
    "a forward hook": lambda m: m.register_forward_hook(lambda _, i, out: out * 0),
    "a forward hook on a part": lambda m: next(
        iter(m.children())
    ).register_forward_hook(lambda _, i, out: out * 0),
    "a hook before the forward pass": lambda m: m.register_forward_pre_hook(
        lambda _, i: tuple(x * 0 for x in i)
    ),
    "a forward method of the instance": lambda m: setattr(
        m, "forward", lambda x: m.__class__.forward(m, x) * 0
    ),
    "another class": lambda m: setattr(
        m,
        "__class__",
        type(
            "Own", (m.__class__,), {"forward": lambda s, x: m.__class__.forward(s, x)}
        ),
    ),
}


@pytest.mark.parametrize("what", HOOKS)
def test_what_hangs_on_a_module_is_not_evaluated(pytorch, what):
    before = pytorch.loss(pytorch.params)
    HOOKS[what](pytorch.params)
    np.testing.assert_array_equal(pytorch.loss(pytorch.params), before)


def test_the_evaluated_module_has_the_values_that_were_returned(pytorch, torch):
    before = pytorch.loss(pytorch.params)
    with torch.no_grad():
        for parameter in pytorch.params.parameters():
            parameter.mul_(0.5)
    assert not np.array_equal(pytorch.loss(pytorch.params), before)


def test_the_evaluated_module_is_no_part_of_what_was_returned(pytorch):
    module, _ = pytorch.workload.isolated(pytorch.params, pytorch.state)
    own = {p.data_ptr() for p in module.parameters()}
    assert module is not pytorch.params
    assert not own & {p.data_ptr() for p in pytorch.params.parameters()}


def test_a_module_of_other_parts_is_refused(pytorch, torch):
    with pytest.raises(BadSubmission, match="shape"):
        pytorch.workload.isolated(torch.nn.Linear(2, 2), None)


def test_containers_of_ones_own_are_not_evaluated(jax):
    class Cheat(dict):
        """Shows its values once each, then nothing."""

        def __init__(self, values):
            super().__init__(values)
            self.num_asked = 0

        def __getitem__(self, name):
            self.num_asked += 1
            assert self.num_asked <= len(self)
            return super().__getitem__(name)

    before = jax.loss(jax.params)
    np.testing.assert_array_equal(jax.loss(Cheat(jax.params)), before)


def test_the_evaluated_containers_are_plain(jax):
    class Cheat(dict):
        pass

    params, _ = jax.workload.isolated(Cheat(jax.params), jax.state)
    assert type(params) is dict


def test_a_container_of_something_else_is_refused(jax):
    with pytest.raises(BadSubmission, match="no dicts of arrays"):
        jax.workload.isolated([1, 2, 3], jax.state)


def changed(bound, change, undo):
    """What the guards say after a change of the process."""
    guards = Guards(settings=bound.backend.process_settings)
    assert guards.find() == []
    change()
    try:
        return guards.find()
    finally:
        undo()


def test_the_default_dtype_of_pytorch(pytorch, torch):
    (found,) = changed(
        pytorch,
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    )
    assert "default dtype was changed from torch.float32 to torch.float64" in found


def test_hooks_on_all_modules_of_pytorch(pytorch, torch):
    handles = []
    (found,) = changed(
        pytorch,
        lambda: handles.append(
            torch.nn.modules.module.register_module_forward_hook(lambda *a: None)
        ),
        lambda: handles[0].remove(),
    )
    assert "hooks on all modules" in found


def test_a_function_of_pytorch_that_was_replaced(pytorch, torch):
    functional = importlib.import_module("torch.nn.functional")
    true = functional.linear
    (found,) = changed(
        pytorch,
        lambda: setattr(functional, "linear", lambda *a: true(*a) * 0),
        lambda: setattr(functional, "linear", true),
    )
    assert found == "torch.nn.functional.linear was replaced"


def test_a_flag_of_jax(jax):
    import jax as framework

    (found,) = changed(
        jax,
        lambda: framework.config.update("jax_default_matmul_precision", "bfloat16"),
        lambda: framework.config.update(
            "jax_default_matmul_precision", "tensorfloat32"
        ),
    )
    assert "jax_default_matmul_precision was changed" in found


def test_the_global_generator_of_pytorch_is_kept_in_checkpoints(pytorch, torch):
    randomness = ProcessRandomness(pytorch.backend)
    randomness.seed(5)
    arrays, rest = randomness.state()
    first = torch.rand(3)
    randomness.restore(arrays, rest)
    assert torch.equal(torch.rand(3), first)
