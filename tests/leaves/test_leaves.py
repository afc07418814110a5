"""States of plain Python and NumPy: what changes its structure comes back exactly."""

import collections
import datetime
import decimal
import functools
import importlib
import json
import logging
import math
import os
import pathlib
import random
import sys
import threading
import types
import weakref

import numpy as np
import pytest
from kept_states import (
    Color,
    Data,
    Dict,
    Flag,
    Frozen,
    List,
    Number,
    Pair,
    Plain,
    Slots,
    Typed,
    counter,
    of,
    restore,
    round_trip,
    save,
)

from algoperf.errors import BadCheckpoint
from algoperf.leaves import MISSING, names

VALUES = {
    "numbers": [0, -1, 2**63, -(10**400), True, None, 0.1, -0.0, math.inf, -math.inf],
    "texts": ["", "a/b~[0]", "\ud800", "\x00", "é"],
    "bytes": [b"", b"\x00\xff", bytearray(b"ab")],
    "complex": [1 + 2j, complex(math.inf, -0.0)],
    "keys": {1: 1, "1": 2, (1, "a"): 3, None: 4, True + 1: 5, b"x": 6, Color.RED: 7},
    "enums": [Color.GREEN, Number.ONE, Flag.A | Flag.B, Flag(0)],
    "sequences": [[], (), [()], ((),), collections.deque([1, 2], 3), range(1, 9, 2)],
    "slices": [slice(None), slice(1, None, 2), ..., NotImplemented],
    "sets": [set(), {1, "a", (2, 3)}, frozenset({1}), {frozenset({1, 2})}],
    "mappings": [
        collections.OrderedDict(b=1, a=2),
        collections.Counter("abca"),
        collections.UserDict(a=1),
        collections.ChainMap({"a": 1}, {"b": 2}),
        types.MappingProxyType({"a": 1}),
        types.SimpleNamespace(a=[1]),
    ],
    "namedtuples": [Pair(1, Pair(2, ())), Typed(3), [Pair(1, 2)] * 3],
    "dataclasses": [Data(1, Data([2])), Frozen((1,), 2)],
    "objects": [Plain.new(a=1, b=[2])],
    "subclasses": [of(Dict, {"a": 1}, note="x"), of(List, [1], note=2), Dict(a=Dict())],
    "arrays": [
        np.zeros((2, 0)),
        np.array(3),
        np.float32(0.1),
        np.int64(-1),
        np.bool_(),
    ],
    "orders": [np.arange(6.0).reshape(2, 3).T, np.ones((2, 3, 4)).transpose(1, 2, 0)],
    "functions": [len, math.sin, np.subtract, dict.get, "".join, json.dumps, Data],
    "partials": [functools.partial(math.pow, 2), functools.partial(int, base=2)],
    "modules": [json, np],
    "times": [
        datetime.timedelta(1, 2),
        datetime.datetime(2026, 1, 2, 3),
        pathlib.Path("a"),
    ],
    "exact": [decimal.Decimal("0.10")],
}


@pytest.mark.parametrize("what", VALUES)
def test_values_come_back_with_their_types_where_nothing_was_before(what):
    value = VALUES[what]
    result = round_trip({"state": value})["state"]
    pairs = [(result, value)]
    if isinstance(value, list):
        pairs += list(zip(result, value, strict=True))
    for one, other in pairs:
        assert type(one) is type(other)
        if what not in ("objects", "arrays", "orders", "partials", "functions"):
            assert one == other or isinstance(one, list)


def test_zero_keeps_its_sign_and_nan_its_bits():
    result = round_trip([-0.0, math.nan, -math.nan])
    assert math.copysign(1, result[0]) == -1
    assert math.isnan(result[1]) and math.copysign(1, result[2]) == -1


@pytest.mark.parametrize(
    ("state", "fresh"),
    [
        ({"kept": [1.5]}, {"kept": None}),
        ({"kept": None}, {"kept": [1.5]}),
        ([1, 2, 3], [1]),
        ([], [1, 2]),
        ({"a": 1, "later": {"b": 2}}, {"a": 1}),
        ({"b": 1, "a": 2}, {"a": 0, "b": 0}),
        ((1, (2, 3)), (1,)),
        (Pair(1, 2), None),
        (Data(1), {"a": 1}),
        ({"x": np.ones(3)}, {"x": np.ones(2)}),
        ({"x": np.ones(3)}, {"x": np.ones(3, np.float32)}),
        ({"x": 1}, {"x": np.ones(3)}),
        (collections.deque([1, 2, 3], 3), collections.deque([1], 5)),
        ({1, 2}, {3}),
    ],
)
def test_another_structure_than_the_templates_comes_back(state, fresh):
    round_trip(state, fresh)


def test_the_order_of_keys_comes_back():
    assert list(round_trip({"b": 1, "a": 2}, {"a": 0, "b": 0})) == ["b", "a"]


def test_objects_of_the_template_are_filled_where_they_fit():
    def state(value):
        return {"l": [value], "o": Data(value), "a": np.full(2, value), "s": {value}}

    fresh = state(0)
    parts = dict(fresh)
    restored = round_trip(state(5), fresh)
    assert restored is fresh
    assert all(restored[name] is part for name, part in parts.items())


def test_an_object_that_occurs_twice_is_one_again():
    shared = [1]
    restored = round_trip({"a": shared, "b": shared}, {"a": [0], "b": [0]})
    assert restored["a"] is restored["b"]


def test_two_objects_are_two_where_the_template_had_one():
    shared = [0]
    restored = round_trip({"a": [1], "b": [2]}, {"a": shared, "b": shared})
    assert (restored["a"], restored["b"]) == ([1], [2])


def test_states_that_contain_themselves_come_back():
    state = {"list": [], "object": Data(1)}
    state["list"].append(state)
    state["object"].b = state["object"]
    restored = round_trip(state)
    assert restored["list"][0] is restored
    assert restored["object"].b is restored["object"]


def test_a_tuple_that_contains_itself_is_refused():
    inner = []
    outer = (inner,)
    inner.append(outer)
    with pytest.raises(BadCheckpoint, match=r"'\[0\]/\[0\]'.*contains itself"):
        save(outer)


def test_slots_without_value_stay_without():
    value = Slots()
    value.x = [1]
    restored = round_trip(value)
    assert restored.x == [1] and not hasattr(restored, "y")


def test_attributes_that_only_the_template_has_are_gone():
    assert vars(round_trip(Plain.new(a=1), Plain.new(a=0, b=2))) == {"a": 1}


@pytest.mark.parametrize("fresh", [{"f": counter(0)}, {}, {"f": None}])
def test_a_function_goes_on_from_what_its_cells_hold(fresh):
    count = counter(5)
    count()
    restored = round_trip({"f": count}, fresh)["f"]
    assert restored() == 7
    assert fresh.get("f") is restored


def test_functions_share_the_objects_of_the_state():
    history = [1]
    state = {"history": history, "add": lambda value: history.append(value)}
    restored = round_trip(state)
    restored["add"](2)
    assert restored["history"] == [1, 2]


LAMBDAS = """
SCHEDULES = {"a": lambda rate: lambda step: rate * step, "b": lambda rate: lambda: rate}
TOP = [lambda x: x + 1, lambda x: x - 1]

class Rule:
    steps = staticmethod([lambda x: 2 * x, lambda x: 3 * x][1])
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A module in a file, as a submission is."""
    (tmp_path / "lambdas_in_a_file.py").write_text(LAMBDAS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("lambdas_in_a_file")
    del sys.modules["lambdas_in_a_file"]


@pytest.mark.parametrize("has_template", [True, False])
def test_lambdas_come_back_by_their_code(written, has_template):
    schedules = written.SCHEDULES
    fresh = {"f": schedules["b"](0)} if has_template else MISSING
    state = {"f": schedules["a"](3), "g": written.TOP[1], "h": written.Rule.steps}
    restored = round_trip(state, fresh)
    assert [f(2) for f in restored.values()] == [6, 1, 6]


def test_a_lambda_of_a_file_that_has_changed_needs_a_template(written):
    saved = save({"f": written.TOP[0]})
    path = pathlib.Path(written.__file__)
    path.write_text(LAMBDAS.replace("x + 1", "x + x"))
    os.utime(path, (1, 1))
    names._source_codes.cache_clear()
    with pytest.raises(BadCheckpoint, match="'f'"):
        restore(saved, {})
    assert restore(saved, {"f": written.TOP[0]})["f"](1) == 2


def default_and_keyword(scale):
    def function(x, history=[], *, y=2):  # noqa: B006
        history.append(x)
        return scale * len(history) + y

    return function


def test_defaults_that_changed_come_back():
    function = default_and_keyword(10)
    function(1)
    assert round_trip(function)(1) == function(1)


def test_a_state_machine_of_functions_is_where_it_was():
    state, fresh = {"phase": math.cos}, {"phase": math.sin}
    assert round_trip(state, fresh)["phase"] is math.cos


def test_bound_methods_belong_to_the_restored_object():
    data = Data([1])
    data.b = data.a.append
    restored = round_trip(data)
    restored.b(2)
    assert restored.a == [1, 2]


def test_weak_references_point_to_the_restored_object():
    data = Data(1)
    restored = round_trip({"data": data, "ref": weakref.ref(data)})
    assert restored["ref"]() is restored["data"]


def test_a_factory_of_a_default_dict_comes_back():
    restored = round_trip(collections.defaultdict(lambda: [0], a=[1]))
    assert restored["new"] == [0]


SENTINEL = Plain.new()


def test_a_sentinel_of_a_module_is_that_object():
    assert round_trip([SENTINEL])[0] is SENTINEL


GENERATORS = {
    "python": lambda seed: random.Random(seed),
    "pcg": lambda seed: np.random.default_rng(seed),
    "twister": lambda seed: np.random.Generator(np.random.MT19937(seed)),
    "philox": lambda seed: np.random.Generator(np.random.Philox(seed)),
    "old": lambda seed: np.random.RandomState(seed),
}


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("is_there", [True, False])
def test_generators_go_on_where_they_were(kind, is_there):
    def draw(generator):
        gauss = getattr(generator, "gauss", None) or generator.normal
        return [gauss(0, 1) for _ in range(3)]

    generator = GENERATORS[kind](3)
    draw(generator)
    fresh = {"rng": GENERATORS[kind](7)} if is_there else {}
    restored = round_trip({"rng": generator}, fresh)["rng"]
    assert draw(restored) == draw(generator)


def test_generators_spawn_the_same_children():
    generator = np.random.default_rng(3)
    generator.spawn(2)
    restored = round_trip({"rng": generator}, {"rng": np.random.default_rng(3)})["rng"]
    ours, theirs = restored.spawn(1)[0], generator.spawn(1)[0]
    assert ours.integers(1 << 60) == theirs.integers(1 << 60)


def test_what_a_new_state_has_as_well_is_taken_from_it():
    lock = threading.Lock()
    fresh = {"log": logging.getLogger("a"), "lock": lock}
    restored = round_trip(
        {"log": logging.getLogger("a"), "lock": threading.Lock()}, fresh
    )
    assert restored["lock"] is lock
    saved = save({"lock": threading.Lock()})
    assert saved[1]["needs"] == {"lock": "the same _thread.lock"}
    with pytest.raises(BadCheckpoint, match=r"'lock'.*init_optimizer_state"):
        restore(saved, {})


def test_a_class_within_a_function_needs_a_template():
    class Local:
        def __init__(self):
            self.a = 1

    state = {"x": Local()}
    saved = save(state)
    assert "Local" in saved[1]["needs"]["x"]
    assert restore(saved, {"x": Local()})["x"].a == 1
    with pytest.raises(BadCheckpoint, match=r"'x'.*Local.*top level of a module"):
        restore(saved, {})


def test_code_that_was_executed_from_text_needs_a_template():
    def made(value):
        names: dict = {}
        exec("def make(v):\n  def f():\n    return v\n  return f", names)
        return names["make"](value)

    saved = save({"f": made(3)})
    assert "f" in saved[1]["needs"]
    assert restore(saved, {"f": made(0)})["f"]() == 3
    with pytest.raises(BadCheckpoint, match="'f'"):
        restore(saved, {})
