"""Files of a trial that are no files, or not what their names say."""

import codecs
import gzip
import os
import socket
import tarfile
from pathlib import Path

import pytest
from made_logs import GOOD, SLOW, ranked, write_trial

# Regular files only


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket may have 108 characters
    try:
        server.bind(path.name)
    finally:
        os.chdir(here)
        server.close()  # its file stays


def make_device(path: Path) -> None:
    path.symlink_to("/dev/full")


def make_folder(path: Path) -> None:
    path.mkdir()


def make_broken_link(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


ODD_FILES = (make_fifo, make_socket, make_device, make_folder, make_broken_link)


@pytest.mark.parametrize("make", ODD_FILES)
@pytest.mark.parametrize(
    "name",
    [
        "eval_measurements.csv",
        "meta_data_0.json",
        "flags_0.json",
        "hparams.json",
        "outcome.json",
    ],
)
def test_a_file_of_a_trial_that_is_no_regular_file_is_refused(root, run, name, make):
    file = root / "logs/one/study_1/alpha_jax/trial_1" / name
    file.unlink(missing_ok=True)
    make(file)
    status, _, err = run()
    assert status == 2 and str(file) in err and err.count("\n") == 1


@pytest.mark.parametrize("make", ODD_FILES)
def test_a_targets_file_that_is_no_regular_file_is_refused(root, run, make):
    file = root / "odd"
    make(file)
    status, _, err = run("--targets", str(file))
    assert status == 2 and str(file) in err and err.count("\n") == 1


def test_an_endless_file_is_not_read(root, run):
    file = root / "logs/one/study_1/alpha_jax/trial_1/eval_measurements.csv"
    os.truncate(file, 10**12)
    status, _, err = run()
    assert status == 2 and "1,000,000,000,000 bytes" in err


def test_an_archive_is_to_be_unpacked_first(root, run):
    archive = root / "logs.tar.xz"
    with tarfile.open(archive, "w:xz") as content:
        content.add(root / "logs", "logs")
    status, _, err = run(directory=archive)
    assert status == 2 and "unpack an archive first" in err


# Files from spreadsheets, downloads and old systems


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + SLOW.encode(),
        SLOW.replace("\n", "\r\n").encode(),
        SLOW.replace("\n", "\r").encode(),
        (SLOW + "\n\n").encode(),
        SLOW.replace(",", ", ").encode(),
        SLOW.replace("\n", ",\n").encode(),
        SLOW.replace("30.0", '"30.0"').encode(),
        SLOW.replace("\n2,", "\n2e0,").encode(),
    ],
)
def test_what_other_programs_write_is_read(root, run, content):
    expected = ranked(run()[1])
    write_trial(root / "logs/two/study_1/alpha_jax/trial_1", content)
    assert ranked(run()[1]) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(GOOD.encode()), "a gzip archive"),
        (GOOD.encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n<html></html>\n", "a web page"),
        (GOOD.encode() + bytes(4096), "truncated"),
        (b"# mine\n" + GOOD.encode(), "line 2 has 4 cells"),
        (GOOD.replace(",", ";").encode(), "has no column"),
        ((GOOD + GOOD).encode(), "line 4, column 'global_step'"),
        (GOOD.replace("0.95", "95%").encode(), "'95%' is not a number"),
        (GOOD.replace("0.95", '"0,95"').encode(), "a comma or quote within a cell"),
    ],
)
def test_what_is_no_table_of_evaluations_is_named(root, run, content, words):
    folder = write_trial(root / "logs/two/study_1/alpha_jax/trial_1", content)
    status, _, err = run()
    assert status == 2 and f"{folder}/eval_measurements.csv" in err and words in err


@pytest.mark.parametrize("content", ["null", "[]", "", "{", '{"a": "\xf6"}'])
def test_a_damaged_record_names_its_file(root, run, content):
    file = root / "logs/two/study_1/alpha_jax/trial_1/meta_data_0.json"
    file.write_text(content, encoding="latin-1")
    status, _, err = run()
    assert status == 2 and str(file) in err and err.count("\n") == 1
