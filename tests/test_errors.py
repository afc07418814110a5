import inspect

import pytest

from algoperf import errors
from algoperf.errors import AlgoPerfError, near

USER_ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == errors.__name__
]


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_every_error_is_shown_to_people_without_a_traceback(kind):
    assert issubclass(kind, AlgoPerfError)


def test_a_name_that_is_spelt_almost_right_is_suggested():
    assert near("mnits", ["mnist", "criteo1tb"]) == " Did you mean 'mnist'?"


def test_the_nearest_of_several_names_is_suggested():
    assert near("mnist_mimi", ["mnist", "mnist_mini"]) == " Did you mean 'mnist_mini'?"


def test_nothing_is_suggested_when_no_name_is_like_it():
    assert near("zzz", ["mnist", "criteo1tb"]) == ""
