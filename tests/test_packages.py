"""Packages of an extra: asked for before any work, with the way to install them."""

import json
import sys

import pytest

from algoperf import packages
from algoperf.errors import MissingDependency


def test_a_package_that_is_there_is_imported():
    packages.check(["json"], "This test")
    assert packages.load("json", "This test") is json


def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(MissingDependency) as missing:
        packages.load("no_such_package", "This test")
    text = str(missing.value)
    assert text.startswith("This test needs the package 'no_such_package'")
    assert "extra 'data'" in text and "pip install 'algoperf[data]'" in text


def test_all_missing_packages_are_named_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "first", None)
    monkeypatch.setitem(sys.modules, "second", None)
    with pytest.raises(MissingDependency, match="packages 'first' and 'second'"):
        packages.check(["first", "json", "second"], "This test")


def test_a_package_whose_library_is_missing_counts_as_missing(monkeypatch, tmp_path):
    (tmp_path / "without_library.py").write_text("raise OSError('libsnd not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match="libsnd not found"):
        packages.load("without_library", "This test")
