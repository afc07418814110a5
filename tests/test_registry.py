import types

import pytest

from algoperf import plugins, registry
from algoperf.errors import AlgoPerfError, UnknownName
from algoperf.rulesets import RULESETS


def test_workloads_are_found_by_scanning():
    assert {"mnist", "mnist_mini"} <= set(registry.definitions())


def test_every_definition_stands_under_its_own_name():
    definitions = registry.definitions()
    assert {name: value.name for name, value in definitions.items()} == {
        name: name for name in definitions
    }


def test_every_definition_has_limits_for_the_newest_ruleset():
    for definition in registry.definitions().values():
        assert definition.limits_of(RULESETS["v1.0"]).budget_seconds > 0


def test_every_workload_has_the_files_that_the_runner_loads():
    for definition in registry.definitions().values():
        own = definition.modules
        for name in (own.data, own.metrics):
            assert registry.has_module("workloads", definition.folder, name)
        for framework in ("jax", "pytorch"):
            assert registry.has_model(definition, framework)


def test_every_data_set_of_a_workload_can_be_prepared():
    for definition in registry.definitions().values():
        if definition.needs_data:
            module = registry.dataset_module(definition.dataset, "prepare")
            assert callable(module.prepare)


def test_an_unknown_workload_is_refused_with_a_near_name():
    with pytest.raises(UnknownName) as caught:
        registry.definition("mnits")
    assert "Did you mean 'mnist'?" in str(caught.value)
    assert "algoperf list" in str(caught.value)


def test_an_unknown_data_set_is_refused_with_a_near_name():
    with pytest.raises(UnknownName, match=r"Did you mean 'mnist'\? There are: .*mnist"):
        registry.dataset_module("mnits", "reader")


def test_shared_folders_are_no_algorithms():
    found = registry.folders("reference_algorithms")
    assert "adamw" in found
    assert not any(name.startswith("_") for name in found)


def test_a_module_that_does_not_exist_is_known_without_importing():
    assert not registry.has_module("workloads", "mnist", "model_numpy")


@pytest.mark.parametrize("as_file", [True, False])
def test_a_checkout_without_links_is_told_what_to_do(tmp_path, monkeypatch, as_file):
    if as_file:  # what git writes where links are not supported
        (tmp_path / "workloads").write_text("../workloads")
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "registry.py"))
    with pytest.raises(AlgoPerfError, match="symbolic link") as caught:
        registry.wing_folder("workloads")
    assert "core.symlinks=true" in str(caught.value)


def test_a_folder_and_its_definition_must_have_the_same_name(monkeypatch):
    other = types.SimpleNamespace(DEFINITION=types.SimpleNamespace(name="b"))
    monkeypatch.setattr(registry, "folders", lambda wing: ["a"])
    monkeypatch.setattr(registry, "module", lambda *_: other)
    with pytest.raises(AlgoPerfError, match=r"workloads/a/definition\.py defines 'b'"):
        registry.base_definitions.__wrapped__()


def test_a_function_whose_name_is_nearly_one_that_has_a_meaning_is_refused():
    slip = types.ModuleType("algoperf.workloads.mine.model_jax")
    exec("def build(config): ...\ndef foward(variables): ...", vars(slip))
    with pytest.raises(AlgoPerfError, match="has 'foward'; did you mean 'forward'"):
        plugins.check(slip, "model_jax")


def test_a_module_without_what_its_kind_needs_is_refused():
    empty = types.ModuleType("algoperf.workloads.mine.data")
    with pytest.raises(AlgoPerfError, match="must define open_batches"):
        plugins.check(empty, "data")


def test_every_workloads_modules_pass():
    for definition in registry.base_definitions().values():
        for name in ("data", "metrics"):
            plugins.check(registry.workload_part(definition, name), name)
