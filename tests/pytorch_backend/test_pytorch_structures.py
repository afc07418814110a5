"""Checkpoint leaves: states as submissions keep them, also such as come up while training."""

import collections
import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.optim import lr_scheduler, swa_utils  # noqa: E402

from algoperf.leaves import differences  # noqa: E402
from algoperf.pytorch_backend import make_backend  # noqa: E402


def save(tree):
    arrays, rest = make_backend().to_leaves(tree)
    return arrays, json.loads(json.dumps(rest, allow_nan=False))


def round_trip(tree, template=None):
    """The state restored; saved again, it must be the same in every bit."""
    saved = save(tree)
    restored = make_backend().from_leaves(template, *saved)
    again = save(restored)
    assert differences(saved, again) == []
    assert saved[1]["tree"] == again[1]["tree"]
    return restored


def new_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


def train(state, steps, seed=0):
    """Steps of whatever the state has; returns the parameters."""
    torch.manual_seed(seed)
    model, optimizer = state["params"], state["optimizer"]
    for _ in range(steps):
        inputs = torch.randn(6, 3)

        def closure(inputs=inputs):
            optimizer.zero_grad()
            loss = model(inputs).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        if "scheduler" in state:
            state["scheduler"].step()
        if "ema" in state:
            state["ema"].update_parameters(model)
    return [p.detach().clone() for p in model.parameters()]


OPTIMIZERS = [
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adagrad", "Adadelta", "Adamax", "RMSprop",
    "ASGD", "Rprop", "LBFGS", "Adafactor",
]  # fmt: skip


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_go_on_also_where_they_came_up_later(name, is_there):
    def state():
        model = new_model()
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1)
        return {"params": model, "optimizer": optimizer}

    trained = state()
    train(trained, 2)
    fresh = state() if is_there else {"params": new_model(), "optimizer": None}
    restored = round_trip(trained, fresh)
    assert restored["params"] is fresh["params"]
    assert all(map(torch.equal, train(trained, 2), train(restored, 2)))


SCHEDULERS = {
    "step": lambda o: lr_scheduler.StepLR(o, 2),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (step + 1)),
    "product": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.9),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o), lr_scheduler.ConstantLR(o)], [2]
    ),
    "chain": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_go_on(name):
    def state():
        model = new_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = SCHEDULERS[name](optimizer)
        return {"params": model, "optimizer": optimizer, "scheduler": scheduler}

    trained = state()
    train(trained, 3)
    restored = round_trip(trained, state())
    assert restored["scheduler"].optimizer is restored["optimizer"]
    for _ in range(4):
        assert all(map(torch.equal, train(trained, 1), train(restored, 1)))
        rates = [s["optimizer"].param_groups[0]["lr"] for s in (trained, restored)]
        assert rates[0] == rates[1]


def test_an_optimizer_with_scheduler_and_averages_may_come_up_later():
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters())
    average = swa_utils.get_ema_multi_avg_fn(0.9)
    trained = {
        "params": model,
        "optimizer": optimizer,
        "scheduler": lr_scheduler.CosineAnnealingLR(optimizer, 9),
        "ema": swa_utils.AveragedModel(model, multi_avg_fn=average),
        "scaler": torch.amp.GradScaler("cpu"),
    }
    train(trained, 3)
    restored = round_trip(trained, {"params": new_model()})
    assert all(map(torch.equal, train(trained, 2), train(restored, 2)))
    averages = [list(s["ema"].parameters()) for s in (trained, restored)]
    assert all(map(torch.equal, *averages))


class Lookahead:
    """An optimizer around another, with slow weights; no state_dict."""

    def __init__(self, base, period):
        self.base, self.period, self.count = base, period, 0
        self.param_groups = base.param_groups
        self.slow = {
            p: p.detach().clone() for g in self.param_groups for p in g["params"]
        }
        self.rule = lambda slow, fast: slow.lerp_(fast, 0.5)

    def zero_grad(self):
        self.base.zero_grad()

    def step(self, closure):
        self.base.step(closure)
        self.count += 1
        if self.count % self.period == 0:
            with torch.no_grad():
                for fast, slow in self.slow.items():
                    fast.copy_(self.rule(slow, fast.detach()))


@pytest.mark.parametrize("is_there", [True, False])
def test_an_object_of_the_submission_goes_on_with_all_its_attributes(is_there):
    def state():
        model = new_model()
        base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return {"params": model, "optimizer": Lookahead(base, 3)}

    trained = state()
    train(trained, 4)
    fresh = state() if is_there else {"params": new_model()}
    restored = round_trip(trained, fresh)
    assert restored["optimizer"].param_groups is restored["optimizer"].base.param_groups
    assert all(map(torch.equal, train(trained, 5), train(restored, 5)))


def test_another_optimizer_than_the_first_comes_back():
    model = new_model()
    trained = {"params": model, "optimizer": torch.optim.Adam(model.parameters())}
    train(trained, 2)
    other = new_model()
    fresh = {"params": other, "optimizer": torch.optim.SGD(other.parameters(), lr=1)}
    restored = round_trip(trained, fresh)
    assert type(restored["optimizer"]) is torch.optim.Adam
    assert all(map(torch.equal, train(trained, 2), train(restored, 2)))


def test_parameters_that_were_added_to_an_optimizer_stay():
    def state():
        model = new_model()
        first, *others = model.parameters()
        return {"params": model, "optimizer": torch.optim.SGD([first], lr=0.1)}, others

    trained, others = state()
    trained["optimizer"].add_param_group({"params": others, "lr": 0.5})
    restored = round_trip(trained, state()[0])
    assert all(map(torch.equal, train(trained, 2), train(restored, 2)))


def test_a_copy_of_the_model_comes_back_as_a_model_of_its_own():
    model = new_model()
    kept = copy.deepcopy(model).eval().requires_grad_(False)
    restored = round_trip({"params": model, "kept": kept}, {"params": new_model()})
    inputs = torch.ones(2, 3)
    assert torch.equal(restored["kept"](inputs), kept(inputs))
    assert restored["kept"][0].weight is not restored["params"][0].weight
    assert not restored["kept"].training


def test_frozen_parameters_and_gathered_gradients_stay():
    model, fresh = new_model(), new_model()
    model[3].requires_grad_(False)
    model(torch.ones(4, 3)).sum().backward()
    restored = round_trip({"params": model}, {"params": fresh})["params"]
    assert restored is fresh
    assert not fresh[3].weight.requires_grad
    assert torch.equal(fresh[0].weight.grad, model[0].weight.grad)
    fresh(torch.ones(4, 3)).sum().backward()  # gathers on


def test_gradients_of_the_template_are_gone_where_there_were_none():
    model, fresh = new_model(), new_model()
    fresh(torch.ones(4, 3)).sum().backward()
    assert (
        round_trip({"params": model}, {"params": fresh})["params"][0].weight.grad
        is None
    )


def test_attributes_that_somebody_set_on_a_parameter_stay():
    model = new_model()
    model[0].weight.old = torch.ones(2)
    restored = round_trip({"params": model}, {"params": new_model()})["params"]
    assert torch.equal(restored[0].weight.old, torch.ones(2))


def flat_state():
    flat = torch.zeros(12)
    return {
        "flat": flat,
        "views": [flat[:4].view(2, 2), flat[4:], flat.view(torch.int32)],
    }


@pytest.mark.parametrize(
    "fresh",
    [
        flat_state,
        dict,
        lambda: {"flat": torch.zeros(12)},
        lambda: {"flat": None, "views": [torch.zeros(2, 2), torch.zeros(8)]},
        lambda: {"views": [torch.zeros(30)[5:9].view(2, 2)]},
    ],
)
def test_tensors_that_share_memory_share_it_again(fresh):
    state = flat_state()
    state["flat"] += torch.arange(12.0)
    restored = round_trip(state, fresh())
    restored["flat"][0] = 9
    assert restored["views"][0][0, 0] == 9
    restored["views"][2].zero_()
    assert not restored["flat"].any() and not restored["views"][1].any()


def test_shared_memory_of_the_template_is_used():
    fresh = flat_state()
    address = fresh["flat"].data_ptr()
    restored = round_trip(flat_state(), fresh)
    assert restored["flat"].data_ptr() == address


def test_tensors_that_shared_memory_in_the_template_only_part():
    state = {"flat": torch.ones(12), "views": [torch.zeros(2, 2), torch.ones(8)]}
    fresh = flat_state()
    restored = round_trip(state, fresh)
    restored["flat"].zero_()
    assert restored["views"][1].all()


def test_the_data_of_parameters_stays_theirs():
    model, fresh = new_model(), new_model()
    restored = round_trip(
        {"params": model, "data": [p.data for p in model.parameters()]},
        {"params": fresh, "data": None},
    )
    with torch.no_grad():
        fresh[0].weight.zero_()
    assert not restored["data"][0].any()


def test_strides_decide_the_order_of_sums_and_stay():
    state = {
        "channels last": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.arange(12.0).view(3, 4).T,
        "every second": torch.arange(10.0)[::2],
        "repeated": torch.ones(1).expand(5),
        "part": torch.arange(10.0)[3:5],
    }
    restored = round_trip(state)
    for name in ("channels last", "transposed", "every second", "repeated"):
        assert restored[name].stride() == state[name].stride()


def test_tensors_as_keys_are_those_of_the_model():
    model = new_model()
    state = {p: {"m": torch.zeros_like(p)} for p in model.parameters()}
    fresh = new_model()
    restored = round_trip({"params": model, "state": state}, {"params": fresh})
    assert set(restored["state"]) == set(fresh.parameters())


def test_the_graph_of_a_loss_that_was_kept_is_left_out():
    loss = new_model()(torch.ones(2, 3)).sum()
    restored = round_trip({"loss": loss})["loss"]
    assert torch.equal(restored, loss) and not restored.requires_grad


def test_models_with_shared_and_derived_weights_come_back():
    normed = nn.utils.parametrizations.weight_norm
    model, fresh = normed(nn.Linear(3, 3)), normed(nn.Linear(3, 3))
    round_trip({"params": model}, {"params": fresh})
    assert torch.equal(fresh(torch.ones(1, 3)), model(torch.ones(1, 3)))
    recurrent = round_trip({"kept": nn.LSTM(3, 4)})["kept"]
    recurrent(torch.ones(2, 1, 3))
    assert recurrent._flat_weight_refs[0]() is recurrent.weight_ih_l0


def test_constants_and_functions_of_pytorch_come_back():
    tensor = torch.ones(1)
    state = {
        "dtype": torch.bfloat16,
        "size": torch.Size([1, 2]),
        "format": torch.channels_last,
        "functions": [torch.relu, nn.functional.gelu, torch.Tensor.add_, nn.Linear],
        "generator": torch.Generator().manual_seed(3),
        "tensor": tensor,
        "method": tensor.add_,
    }
    restored = round_trip(state)
    restored["method"](1)
    assert restored["tensor"].item() == 2
    assert restored["functions"] == state["functions"]
    draws = [torch.rand(2, generator=s["generator"]) for s in (state, restored)]
    assert torch.equal(*draws)


DTYPES = [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float8_e5m2]


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    tensor = (
        torch.arange(int(np.prod(shape))).view(shape).to(draw(st.sampled_from(DTYPES)))
    )
    change = draw(st.sampled_from(["none", "transpose", "half", "parameter", "view"]))
    if change == "transpose":
        return tensor.permute(tuple(reversed(range(tensor.dim()))))
    if change == "half" and shape and shape[0]:
        return tensor[::2]
    if change == "view" and shape:
        return [tensor, tensor[1:], tensor.view(-1)]
    if change == "parameter" and tensor.is_floating_point():
        return nn.Parameter(tensor)
    return tensor


def containers(children):
    lists = st.lists(children, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(lambda x: [x, x]),
        st.dictionaries(st.sampled_from("abc"), children, max_size=3),
        lists.map(lambda x: collections.deque(x, 2)),
        st.builds(lambda x: {"f": lambda: x, "x": x}, children),
    )


STATES = st.recursive(st.one_of(tensors(), st.integers()), containers, max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(STATES, STATES)
def test_any_state_comes_back_whatever_the_template_is(state, template):
    round_trip(state, template)
