"""Looking things up by name runs no code of the modules and classes in which they are."""

import functools
import sys
import types

import pytest

from algoperf.leaves import names


class Meta(type):
    """A class of classes that answers every question with an error."""

    def __getattr__(cls, name):
        raise AssertionError(name)


class Asked(metaclass=Meta):
    @staticmethod
    def static():
        """Found below its wrapper."""

    @classmethod
    def of_class(cls):
        """Found below its wrapper."""


class Derived(Asked):
    pass


@pytest.fixture
def lazy_module(monkeypatch):
    """A module that makes what it is asked for."""

    def make(name):
        raise AssertionError(name)

    module = types.ModuleType("lazy_of_a_test")
    module.__getattr__ = make
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_modules_and_classes_are_not_asked(lazy_module):
    assert names.find("lazy_of_a_test:anything") is None
    assert names.find(f"{__name__}:Asked.anything") is None
    assert names.name_of(Derived) == f"{__name__}:Derived"


@pytest.mark.parametrize(
    "thing",
    [
        Asked.static,
        vars(Asked)["of_class"].__func__,
        dict.get,
        len,
        functools.wraps,
        Derived,
    ],
)
def test_what_has_a_name_is_found_by_it(thing):
    assert names.find(names.name_of(thing)) is thing


@pytest.mark.parametrize(
    "name",
    ["", "json", "json:", "no_such_module:x", "json:no.such", "json:<lambda>", ":x"],
)
def test_other_names_find_nothing(name):
    assert names.find(name) is None


def test_a_module_that_fails_when_imported_has_nothing(tmp_path, monkeypatch):
    (tmp_path / "failing_in_a_test.py").write_text("raise SystemError")
    monkeypatch.syspath_prepend(tmp_path)
    assert names.find("failing_in_a_test:x") is None
