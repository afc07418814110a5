"""Checkpoint leaves: round trips, aliases, and what is refused."""

import collections
import copy
import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import ml_dtypes  # noqa: E402
from torch import nn  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402

from algoperf.errors import BadCheckpoint  # noqa: E402
from algoperf.leaves import differences  # noqa: E402
from algoperf.pytorch_backend import make_backend  # noqa: E402

Momentum = collections.namedtuple("Momentum", "first second")


@pytest.fixture
def backend():
    return make_backend()


def save(tree):
    """Leaves as they come back from a file."""
    arrays, rest = make_backend().to_leaves(tree)
    return arrays, json.loads(json.dumps(rest, allow_nan=False))


def restore(template, saved):
    return make_backend().from_leaves(template, *saved)


def round_trip(tree, template):
    return restore(template, save(tree))


class Bf16Momentum(torch.optim.Optimizer):
    """SGD with momentum that is kept in bfloat16."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p, dtype=torch.bfloat16)
                state["momentum"].mul_(0.9).add_(p.grad)
                p.sub_(group["lr"] * state["momentum"])


def adamw_with_schedules(params):
    optimizer = torch.optim.AdamW(params, lr=0.1)
    warmup = lr_scheduler.LambdaLR(optimizer, lambda step: (step + 1) / 3)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    return optimizer, lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [3])


def sgd_with_milestones(params):
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True)
    return optimizer, lr_scheduler.MultiStepLR(optimizer, [2, 4, 4])


def adam_with_one_cycle(params):
    optimizer = torch.optim.Adam(params, lr=0.1, amsgrad=True)
    return optimizer, lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=20)


def bf16_with_cosine(params):
    optimizer = Bf16Momentum(params, lr=0.1)
    return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)


OPTIMIZERS = [
    adamw_with_schedules,
    sgd_with_milestones,
    adam_with_one_cycle,
    bf16_with_cosine,
]


def run_state(make_optimizer, seed):
    """What the trial loop saves, at its beginning."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer, scheduler = make_optimizer(model.parameters())
    return {
        "params": model,
        "model_state": None,
        "optimizer_state": {
            "optimizer": optimizer,
            "scheduler": scheduler,
            "averages": Momentum([p.detach().clone() for p in model.parameters()], 0.0),
            "best": float("inf"),
            "generator": torch.Generator().manual_seed(seed),
            "numpy": np.random.default_rng(seed),
            "update": lambda: None,
            "half": torch.zeros(3, dtype=torch.bfloat16),
            "counts": {1: np.zeros(2, np.int64), "1": np.float64(0)},
        },
    }


def train(state, steps):
    """A few steps that change every part of the state; returns the parameters."""
    model, own = state["params"], state["optimizer_state"]
    for _ in range(steps):
        x = torch.randn(6, 3, generator=own["generator"])
        x += float(own["numpy"].normal())
        loss = model(x).square().mean()
        own["optimizer"].zero_grad()
        loss.backward()
        own["optimizer"].step()
        own["scheduler"].step()
        for average, parameter in zip(
            own["averages"].first, model.parameters(), strict=True
        ):
            average.lerp_(parameter.detach(), 0.1)
        own["averages"] = Momentum(own["averages"].first, loss.item())
        own["best"] = min(own["best"], loss.item())
        own["half"] += loss.detach().bfloat16()
        own["counts"][1] += 1
        own["counts"]["1"] = own["counts"]["1"] + np.float64(0.1)
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS)
def test_continuing_after_a_restore_is_bit_equal_to_continuing(make_optimizer):
    state = run_state(make_optimizer, seed=0)
    train(state, 4)
    saved = save(state)
    expected = train(state, 3)
    restored = restore(run_state(make_optimizer, seed=1), saved)
    result = train(restored, 3)
    assert all(map(torch.equal, result, expected))
    again, theirs = save(restored), save(state)
    assert again[1] == theirs[1]
    assert set(again[0]) == set(theirs[0])
    for path, array in theirs[0].items():
        np.testing.assert_array_equal(again[0][path], array, err_msg=path)


def test_a_restored_optimizer_drives_the_restored_parameters():
    state = run_state(adamw_with_schedules, seed=0)
    train(state, 1)
    template = run_state(adamw_with_schedules, seed=1)
    restored = restore(template, save(state))
    group = restored["optimizer_state"]["optimizer"].param_groups[0]
    assert all(
        a is b
        for a, b in zip(group["params"], restored["params"].parameters(), strict=True)
    )
    assert restored["params"] is template["params"]


def test_optimizer_state_keeps_its_own_dtype():
    state = run_state(bf16_with_cosine, seed=0)
    train(state, 1)
    restored = restore(run_state(bf16_with_cosine, seed=1), save(state))
    optimizer = restored["optimizer_state"]["optimizer"]
    assert {s["momentum"].dtype for s in optimizer.state.values()} == {torch.bfloat16}


def test_counters_of_schedulers_stay_counters():
    state = run_state(sgd_with_milestones, seed=0)
    restored = restore(run_state(sgd_with_milestones, seed=1), save(state))
    milestones = restored["optimizer_state"]["scheduler"].milestones
    assert milestones == collections.Counter({2: 1, 4: 2})
    assert isinstance(milestones, collections.Counter)


def test_leaves_do_not_change_with_later_steps():
    tensor = torch.zeros(3)
    arrays, _ = save({"a": tensor})
    tensor += 1
    assert (arrays["a"] == 0).all()


def test_restoring_does_not_keep_the_arrays():
    arrays, rest = save({"a": torch.ones(3)})
    restored = restore({"a": torch.zeros(3)}, (arrays, rest))
    restored["a"] += 1
    assert (arrays["a"] == 1).all()


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bfloat16,
        torch.float16,
        torch.bool,
        torch.int64,
        torch.uint8,
        torch.complex64,
    ],
)
def test_dtypes_come_back_bit_equal(dtype):
    tensor = torch.tensor([0.0, 1.0, 3.0]).to(dtype)
    restored = round_trip([tensor], [torch.zeros_like(tensor)])
    assert restored[0].dtype == dtype
    assert torch.equal(restored[0], tensor)


def test_bfloat16_is_saved_as_the_type_of_ml_dtypes():
    arrays, _ = save([torch.ones(2, dtype=torch.bfloat16)])
    assert arrays["[0]"].dtype == ml_dtypes.bfloat16


@dataclasses.dataclass(frozen=True)
class Settings:
    """A frozen container, as a submission might have it."""

    mean: torch.Tensor
    steps: int


@pytest.mark.parametrize(
    ("tree", "template"),
    [
        ({1: 1, "1": 2}, {1: 0, "1": 0}),
        ([None, True, 2, 0.1, "text"], [0, 0, 0, 0, 0]),
        (Momentum(1, (2, [])), Momentum(0, (0, []))),
        ({"a": float("-inf")}, {"a": 0.0}),
        (collections.deque([1, 2]), collections.deque([0, 0])),
        (collections.OrderedDict(a=1), collections.OrderedDict(a=0)),
        ({"a": (), "b": ()}, {"a": (), "b": ()}),
        ({"a/b": 1, "a": {"b": 2}}, {"a/b": 0, "a": {"b": 0}}),
        ({"x~[0]": 1, "x": [2]}, {"x~[0]": 0, "x": [0]}),
    ],
)
def test_containers_and_values_come_back_with_their_types(tree, template):
    restored = round_trip(tree, template)
    assert restored == tree
    assert type(restored) is type(tree)


def test_nan_comes_back():
    assert np.isnan(round_trip([float("nan")], [0.0])[0])


def test_names_with_slashes_do_not_collide():
    tree = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    template = {"a/b": torch.zeros(1), "a": {"b": torch.zeros(1)}}
    restored = round_trip(tree, template)
    assert (restored["a/b"].item(), restored["a"]["b"].item()) == (0, 1)


def test_dataclasses_are_restored_also_if_frozen():
    restored = round_trip(Settings(torch.ones(2), 5), Settings(torch.zeros(2), 0))
    assert torch.equal(restored.mean, torch.ones(2))
    assert restored.steps == 5


def test_functions_and_constants_come_back_as_they_were_saved():
    tree = {"f": len, "dtype": torch.float32, "a": 1, "d": torch.device("cpu")}
    template = {"f": max, "dtype": torch.bfloat16, "a": 0, "d": None}
    assert round_trip(tree, template) == tree


def reader_of(tensor):
    return lambda: tensor


def test_tensors_are_restored_in_place_for_functions_that_hold_them():
    saved, tensor = torch.ones(2), torch.zeros(2)
    template = {"a": tensor, "read": reader_of(tensor)}
    restored = round_trip({"a": saved, "read": reader_of(saved)}, template)
    assert restored["read"] is template["read"]
    assert restored["read"]() is restored["a"] is tensor
    assert torch.equal(tensor, torch.ones(2))


def test_a_tensor_that_occurs_twice_is_saved_once_and_is_one_again():
    tensor = torch.ones(2)
    saved = save({"a": tensor, "b": [tensor]})
    restored = restore({"a": torch.zeros(2), "b": [torch.zeros(2)]}, saved)
    assert set(saved[0]) == {"a"}
    assert restored["a"] is restored["b"][0]


def test_parameters_in_the_optimizer_state_are_those_of_the_model():
    def tree():
        model = nn.Linear(2, 2)
        return {"params": model, "optimizer_state": list(model.parameters())}

    restored = round_trip(tree(), tree())
    parameters = list(restored["params"].parameters())
    assert all(
        a is b for a, b in zip(restored["optimizer_state"], parameters, strict=True)
    )


def test_tensors_that_have_parted_stay_apart():
    start = torch.zeros(2)
    tree = {"best": torch.ones(2), "last": torch.full((2,), 2.0)}
    restored = round_trip(tree, {"best": start, "last": start})
    assert restored["best"].tolist() == [1, 1]
    assert restored["last"].tolist() == [2, 2]


def test_a_list_that_began_as_the_parameters_does_not_overwrite_them():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    tree = {"params": model, "z": [torch.ones(1, 2), torch.ones(1)]}
    restored = round_trip(
        tree, {"params": other, "z": [p.data for p in other.parameters()]}
    )
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(restored["z"][0], torch.ones(1, 2))


def test_the_order_of_restoring_does_not_matter_for_that():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    tree = {"z": [torch.ones(1, 2), torch.ones(1)], "params": model}
    restored = round_trip(tree, {"z": list(other.parameters()), "params": other})
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(restored["z"][0], torch.ones(1, 2))


def test_an_object_that_occurs_twice_is_restored_once_in_place():
    def tree(value):
        module = nn.Linear(1, 1)
        nn.init.constant_(module.weight, value)
        return {"a": module, "b": {"c": module}}

    saved, template = save(tree(3.0)), tree(0.0)
    restored = restore(template, saved)
    assert restored["b"]["c"] is restored["a"] is template["a"]
    assert restored["a"].weight.item() == 3
    assert set(saved[0]) == {"a/weight", "a/bias"}


def test_anything_with_a_state_dict_is_restored_in_place():
    class Counter:
        def __init__(self, count):
            self.count = count

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    template = {"c": Counter(0)}
    assert round_trip({"c": Counter(5)}, template)["c"] is template["c"]
    assert template["c"].count == 5


MODEL = nn.Linear(3, 2)
TENSORS = {"a": {"b": torch.zeros(2)}}


@pytest.mark.parametrize(
    ("tree", "template"),
    [
        (TENSORS, {"a": {}}),
        ({"a": {}}, TENSORS),
        (TENSORS, {"a": {"b": torch.zeros(3)}}),
        (TENSORS, {"a": {"b": torch.zeros(2, dtype=torch.float64)}}),
        (TENSORS, {"a": {"b": 0}}),
        ({"a": {"b": 0}}, TENSORS),
        (TENSORS, {"a": 3}),
        ([1, 2], [1]),
        ([1], [1, 2]),
        ([np.zeros(2)], [np.zeros(3)]),
        ({"m": MODEL}, {"m": nn.Linear(4, 2)}),
        ({"m": MODEL}, {"m": nn.Linear(3, 2, bias=False)}),
        ({"m": nn.Linear(3, 2, bias=False)}, {"m": MODEL}),
        ({"m": MODEL}, {"m": nn.Linear(3, 2).double()}),
        ({"m": MODEL}, {"m": {}}),
        (
            {"o": torch.optim.SGD(MODEL.parameters(), 0.1)},
            {"o": torch.optim.SGD([MODEL.weight], 0.1)},
        ),
    ],
)
def test_what_has_another_structure_than_the_template_comes_back(tree, template):
    saved = save(tree)
    again = save(restore(copy.deepcopy(template), saved))
    assert differences(saved, again) == []
    assert again[1]["tree"] == saved[1]["tree"]


def test_a_lost_array_is_refused_with_its_path():
    arrays, rest = save(TENSORS)
    del arrays["a/b"]
    with pytest.raises(BadCheckpoint, match="no array for 'a/b'"):
        restore(TENSORS, (arrays, rest))


def test_an_array_too_many_is_refused_with_its_path():
    arrays, rest = save(TENSORS)
    with pytest.raises(BadCheckpoint, match="'other'"):
        restore(TENSORS, ({**arrays, "other": np.zeros(1)}, rest))


class OwnTensor(torch.Tensor):
    """Computes in a way of its own."""

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        raise AssertionError("nothing of a submission runs while a state is saved")


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": {"b": object()}}, "'a/b' is of type object"),
        ({"s": torch.eye(2).to_sparse()}, "'s'.*it is sparse"),
        ({"m": torch.zeros(2, device="meta")}, "'m'.*it has no data"),
        ({"o": torch.zeros(2).as_subclass(OwnTensor)}, "'o'.*a way of its own"),
    ],
)
def test_what_cannot_be_saved_is_named(backend, tree, text):
    with pytest.raises(BadCheckpoint, match=text):
        backend.to_leaves(tree)
