"""States that are refused, damaged, compared or made at random; what runs while one is saved."""

import collections
import contextlib
import functools
import itertools
import math
import threading
import typing
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_states import (
    Color,
    Data,
    Flag,
    Frozen,
    List,
    Pair,
    Plain,
    counter,
    of,
    restore,
    round_trip,
    save,
)

from algoperf.errors import BadCheckpoint
from algoperf.leaves import MISSING, Reader, Writer, differences


def nested():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


def sharing():
    array = np.zeros(4)
    return {"all": array, "part": array[1:]}


class Error(Exception):
    pass


REFUSED = {  # what: (state, path, type or reason)
    "an open file": (
        lambda: {"s": {"log": open("/dev/null")}},  # noqa: SIM115
        "s/log",
        "TextIOWrapper",
    ),
    "a generator": (lambda: {"it": (i for i in [])}, "it", "generator"),
    "an iterator": (lambda: [iter([1])], "[0]", "list_iterator"),
    "a count": (lambda: [itertools.count()], "[0]", "itertools.count"),
    "an object without state": (lambda: [object()], "[0]", "object"),
    "a thread": (lambda: {"t": threading.Thread()}, "t/", "cannot be saved"),
    "an error": (lambda: [Error()], "[0]", "Error"),
    "a number of its own class": (lambda: [type("N", (int,), {})(1)], "[0]", "N"),
    "arrays of objects": (lambda: [np.array([None])], "[0]", "numpy.ndarray"),
    "arrays of texts": (lambda: [np.array(["a"])], "[0]", "numpy.ndarray"),
    "structured arrays": (lambda: [np.zeros(1, "i4,f4")], "[0]", "numpy.ndarray"),
    "masked arrays": (lambda: [np.ma.masked_array([1])], "[0]", "MaskedArray"),
    "shared memory": (sharing, "part", "share memory"),
    "a deep state": (nested, "", "nested too deeply"),
    "a weak set": (lambda: [weakref.WeakSet([Error])], "[0]", "it calls back"),
    "a queue": (lambda: {"q": __import__("queue").SimpleQueue()}, "q", "SimpleQueue"),
    "a memory map": (lambda: [memoryview(b"a")], "[0]", "memoryview"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_saved_is_refused_with_path_and_type(what):
    make, path, said = REFUSED[what]
    with pytest.raises(BadCheckpoint) as caught:
        save(make())
    assert path in str(caught.value) and said in str(caught.value)


class Watching:
    """Tells of every method that somebody calls."""

    calls: typing.ClassVar[list[str]] = []

    def __getattribute__(self, name):
        Watching.calls.append(name)
        return object.__getattribute__(self, name)

    @property
    def __class__(self):
        Watching.calls.append("__class__")
        return dict

    def __reduce_ex__(self, version):
        Watching.calls.append("__reduce_ex__")

    def state_dict(self):
        raise AssertionError

    load_state_dict = __getstate__ = __deepcopy__ = __len__ = __bool__ = state_dict
    __eq__ = __iter__ = __getitem__ = __call__ = __array__ = state_dict
    __hash__ = None


class WatchingDict(dict):
    def items(self):
        raise AssertionError

    __iter__ = __len__ = __getitem__ = keys = get = __eq__ = items
    __hash__ = None


def test_nothing_of_a_submissions_classes_runs_while_a_state_is_saved():
    value = object.__new__(Watching)
    object.__getattribute__(value, "__dict__")["a"] = 1
    Watching.calls.clear()
    save({"x": value, "d": WatchingDict(a=1)})
    assert Watching.calls == []


def test_leaves_are_copies():
    state: dict[str, Any] = {"a": np.zeros(2), "l": [1]}
    arrays, rest = Writer().leaves(state)
    state["a"] += 1
    state["l"].append(2)
    assert not arrays["a"].any()
    restored = Reader(arrays).state(rest, MISSING)
    restored["a"] += 1
    assert not arrays["a"].any()


def test_paths_read_like_paths_and_are_never_the_same():
    state = {
        "a/b": np.zeros(1),
        "a": {"b": np.ones(1)},
        1: np.ones(2),
        "1": [np.ones(3)],
    }
    assert set(save(state)[0]) == {"a~1b", "a/b", "[1]", "1/[0]"}
    round_trip(state)


def test_differences_are_told_with_paths():
    first = save({"ema": {"w": np.zeros(2)}, "n": 1, "l": [1], "t": (1, 2)})
    second = save({"ema": {"w": np.ones(2)}, "n": 2, "l": [1, 2], "t": [1, 2]})
    assert differences(first, second) == [
        "ema/w: value differs",
        "n: value differs: 1 and 2",
        "l: list has 1 and 2 members",
        "t: type differs: tuple and list",
    ]


STATE = {"a": {"b": np.zeros(2)}, "l": [1, (2,)], "d": Data(1), "f": counter(0)}


def test_an_array_that_is_lost_or_too_many_is_refused_with_its_path():
    arrays, rest = save(STATE)
    with pytest.raises(BadCheckpoint, match="'other'"):
        restore(({**arrays, "other": np.zeros(1)}, rest))
    with pytest.raises(BadCheckpoint, match="no array for 'a/b'"):
        restore(({}, rest))


def test_a_checkpoint_without_structure_is_refused():
    with pytest.raises(BadCheckpoint, match="older version"):
        restore(({}, {"['step']": {"value": 3}}))


def places(node, path=()):
    """Paths of keys and indices to every part of JSON."""
    yield path
    children = node.items() if isinstance(node, dict) else ()
    children = enumerate(node) if isinstance(node, list) else children
    for key, child in children:
        yield from places(child, (*path, key))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_structure_is_refused_or_harmless(data):
    """No error but `BadCheckpoint`, whatever a byte of the structure has become."""
    arrays, rest = save(STATE)
    path = data.draw(st.sampled_from([p for p in places(rest["tree"]) if p]))
    parent = functools.reduce(lambda node, key: node[key], path[:-1], rest["tree"])
    junk = st.sampled_from([None, 7, "junk", [], {}, {"is": "list"}, {"same": 99}])
    if data.draw(st.booleans()):
        del parent[path[-1]]
    else:
        parent[path[-1]] = data.draw(junk)
    with contextlib.suppress(BadCheckpoint):
        restore((arrays, rest), {"a": {"b": np.zeros(2)}})


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=4),
    st.complex_numbers(),
    st.sampled_from([*Color, Flag.A, Flag.A | Flag.B]),
)
KEYS = st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.integers()))
ARRAYS = st.builds(
    lambda shape, dtype: np.arange(math.prod(shape)).reshape(shape).astype(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(["float32", "int64", "bool", "complex64", "uint8"]),
)


def containers(children):
    lists = st.lists(children, max_size=3)
    return st.one_of(
        lists,
        lists.map(tuple),
        lists.map(lambda x: [x, x]),  # the same object twice
        st.dictionaries(KEYS, children, max_size=3),
        st.dictionaries(KEYS, children, max_size=3).map(collections.OrderedDict),
        st.builds(lambda x, n: collections.deque(x, n), lists, st.integers(0, 3)),
        st.builds(Pair, children, children),
        st.builds(Data, children, children),
        st.builds(Frozen, children),
        st.builds(lambda x: Plain.new(x=x), children),
        st.builds(lambda x: functools.partial(print, x), children),
        st.builds(lambda x: of(List, [x], note=x), children),
        st.builds(counter, children),
    )


STATES = st.recursive(st.one_of(PLAIN, ARRAYS), containers, max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(STATES, STATES)
def test_any_state_comes_back_whatever_the_template_is(state, template):
    round_trip(state, template)
