"""What is wrong is found before anything starts: no process, no folder."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from algoperf import registry
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.runner import door
from algoperf.runner.settings import Settings

RANKS = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}


@pytest.fixture
def refused(tmp_path):
    """Asserts that settings are refused with some words, and that nothing was written."""

    def check(settings, said):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(AlgoPerfError, match=said) as caught:
            door.check_before_start(settings)
        assert sorted(tmp_path.rglob("*")) == before
        return str(caught.value)

    return check


def test_good_settings_pass(toy, tmp_path):
    settings = toy()
    door.check_before_start(settings)
    assert not settings.experiment_dir.exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE is 'x'; torchrun sets it to a whole number"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0"),
        ({"WORLD_SIZE": "2"}, "RANK, LOCAL_RANK is not set"),
        ({"RANK": "x"}, "RANK is 'x'"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({**RANKS, "LOCAL_RANK": "1.5"}, "LOCAL_RANK is '1.5'"),
        ({**RANKS, "RANK": "2"}, "RANK is 2, but WORLD_SIZE is 2"),
        (RANKS, "toy uses all devices from one process"),
    ],
)
def test_wrong_variables_of_torchrun_are_refused(
    toy, refused, monkeypatch, variables, said
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    refused(toy(), said)


def test_torchrun_and_processes_of_our_own_exclude_each_other(monkeypatch, tmp_path):
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    settings = Settings(
        submission_path=tmp_path / "s.py",
        framework="pytorch",
        workload="mnist_mini",
        experiment_dir=tmp_path,
        experiment_name="x",
        tuning="self",
        num_processes=2,
    )
    with pytest.raises(BadSettings, match="has started 2 processes already"):
        door.check_before_start(settings)


@pytest.mark.parametrize("field", ["submission_path", "search_space"])
def test_files_are_regular_and_there(toy, refused, tmp_path, field):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path, said in (
        (tmp_path / "none", "There is no"),
        (loop, "There is no"),
        (tmp_path, "is a folder; give a file"),
        (pipe, "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
    ):
        refused(toy(**{field: path}), said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(toy, refused, tmp_path):
    path = tmp_path / "submission.py"
    path.touch(mode=0)
    refused(toy(submission_path=path), "may not read the submission file")


def test_the_remedy_names_the_data_folder_that_was_given(toy, refused, tmp_path):
    folder = tmp_path / "my data"
    text = refused(toy(data_dir=folder), "not prepared")
    assert f"`algoperf prepare blobs --data-dir '{folder}'`" in text


def test_the_remedy_for_the_default_data_folder_is_short(tmp_path, monkeypatch):
    monkeypatch.setenv("ALGOPERF_DATA_DIR", str(tmp_path))
    text = "Run `algoperf prepare wmt_mini` again."
    assert door.complete_remedy(text, tmp_path) == text
    other = door.complete_remedy(text, Path("/data"))
    assert other == "Run `algoperf prepare wmt_mini --data-dir /data` again."
    assert door.complete_remedy(other, Path("/data")) == other


def test_logs_need_a_folder(toy, refused, tmp_path):
    (tmp_path / "file").touch()
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for folder, said in (
        (tmp_path / "file", "where there is a file"),
        (tmp_path / "file" / "below", "where there is a file"),
        (Path("/dev/null"), "where there is a file"),
        (loop, "Too many levels of symbolic links"),
        (tmp_path / ("a" * 300), "File name too long"),
        (Path("/proc/no/such"), "may not write|cannot be used"),
    ):
        if os.geteuid() == 0 and folder.parts[1] == "proc":
            continue  # root is told that it may write there
        refused(toy(experiment_dir=folder), said)


def test_a_folder_of_logs_may_be_a_link(toy, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    door.check_before_start(toy(experiment_dir=tmp_path / "link" / "logs"))


def without(monkeypatch, *packages):
    for name in packages:
        monkeypatch.setitem(sys.modules, name, None)


def test_a_missing_package_of_an_option_is_named(toy, refused, monkeypatch):
    without(monkeypatch, "tensorboard")
    refused(
        toy(log_to=("tensorboard",)),
        r"--log-to tensorboard needs .*'algoperf\[tensorboard\]'",
    )
    door.check_before_start(toy())


@pytest.mark.parametrize(
    ("framework", "workload", "package", "said"),
    [
        (
            "jax",
            "mnist_mini",
            "flax",
            r"'jax' needs the package flax.*'algoperf\[jax\]'",
        ),
        ("pytorch", "mnist_mini", "safetensors", r"safetensors.*'algoperf\[torch\]'"),
        ("jax", "wmt_mini", "sacrebleu", r"'wmt_mini' needs .*'algoperf\[data\]'"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path, refused, monkeypatch, framework, workload, package, said
):
    monkeypatch.setattr(door, "is_importable", lambda name: name != package)
    (tmp_path / "s.py").touch()
    settings = Settings(
        submission_path=tmp_path / "s.py",
        framework=framework,
        workload=workload,
        experiment_dir=tmp_path / "logs",
        experiment_name="x",
        tuning="self",
    )
    refused(settings, said)


def test_every_package_that_is_looked_for_is_used_by_what_needs_it():
    wings = registry.wing_folder("datasets").parent
    for definition in registry.base_definitions().values():
        folders = (wings / "datasets" / definition.dataset, wings / "workloads")
        texts = [path.read_text() for f in folders for path in f.rglob("*.py")]
        for package in definition.packages:
            assert any(package in text for text in texts), (definition.name, package)


SUBMISSION = """
    {top}

    def get_batch_size(workload_name):
        return {size}

    def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
        return {{}}

    def data_selection(workload, input_queue, optimizer_state, current_param_container,
                       model_state, hyperparameters, global_step, rng):
        return next(input_queue)

    def update_params(**kwargs):
        raise OSError("a step was done")
"""


@pytest.fixture
def shared(tmp_path, digits_folder):
    """Settings of a trial that two processes share, for a submission with some code."""
    pytest.importorskip("torch")

    def settings(size="16", top="pass") -> Settings:
        path = tmp_path / "submission.py"
        path.write_text(textwrap.dedent(SUBMISSION).format(size=size, top=top))
        return Settings(
            submission_path=path,
            framework="pytorch",
            workload="mnist_mini",
            experiment_dir=tmp_path / "logs",
            experiment_name="x",
            data_dir=digits_folder,
            tuning="self",
            num_processes=2,
        )

    return settings


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    from algoperf import cli

    folder = tmp_path_factory.mktemp("data")
    assert cli.main(["prepare", "mnist_mini", "--data-dir", str(folder)]) == 0
    return folder


def test_checking_imports_no_framework(shared):
    settings = shared()
    code = (
        "import json, sys; from algoperf.runner import door; "
        "from algoperf.runner.settings import Settings; "
        "door.check_before_start(Settings.from_json(json.loads(sys.argv[1]))); "
        "print([n for n in ('torch', 'jax', 'flax') if n in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps(settings.as_json())],
        capture_output=True,
        text=True,
    )
    assert result.stdout == "[]\n", result.stderr


def test_data_of_another_format_are_refused(shared, refused, tmp_path):
    settings = shared()
    folder = tmp_path / "data" / "mnist_mini"
    shutil.copytree(settings.data_folder, folder)
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "format_version": 0}))
    settings = dataclasses.replace(settings, data_dir=tmp_path / "data")
    text = refused(settings, "has format version 0 of mnist")
    assert "Delete the folder and run `algoperf prepare mnist_mini --data-dir" in text
