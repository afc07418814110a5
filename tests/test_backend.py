import importlib
import types

import pytest

from algoperf import backend
from algoperf.errors import MissingDependency, UnknownName
from algoperf.frameworks import check_framework


def fail_to_import(monkeypatch, missing: str) -> None:
    def import_module(name):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(importlib, "import_module", import_module)


@pytest.mark.parametrize(
    ("framework", "missing", "extra"),
    [("jax", "flax", "algoperf[jax]"), ("pytorch", "torch", "algoperf[torch]")],
)
def test_a_missing_framework_names_the_extra_to_install(
    monkeypatch, framework, missing, extra
):
    fail_to_import(monkeypatch, missing)
    with pytest.raises(MissingDependency) as caught:
        backend.load(framework)
    assert repr(missing) in str(caught.value)
    assert f"pip install '{extra}'" in str(caught.value)


def test_a_fault_of_the_harness_is_not_taken_for_a_missing_framework(monkeypatch):
    fail_to_import(monkeypatch, "algoperf.jax_backend.no_such_module")
    with pytest.raises(ModuleNotFoundError):
        backend.load("jax")


def test_an_unknown_framework_lists_all_and_suggests_one():
    with pytest.raises(UnknownName) as caught:
        backend.load("pytroch")
    assert "Did you mean 'pytorch'?" in str(caught.value)
    assert "Choose one of: jax, pytorch" in str(caught.value)


def test_a_framework_is_checked_without_importing_it(monkeypatch):
    fail_to_import(monkeypatch, "torch")
    assert check_framework("pytorch").extra == "torch"


def test_options_are_handed_to_the_backend(monkeypatch):
    module = types.SimpleNamespace(make_backend=lambda **options: options)
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    assert backend.load("jax", precision="bf16") == {"precision": "bf16"}
