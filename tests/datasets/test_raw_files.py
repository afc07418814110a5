"""What people's folders of raw files are like, for all data sets alike."""

import importlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from privileges import unprivileged

from algoperf.errors import BadData
from algoperf.prepared import PreparedData

# One of the raw files of each data set, as its own tests write them.
FILES = {
    "criteo1tb": "day_3.gz",
    "fastmri": "knee_singlecoil_val/file3.h5",
    "fineweb_edu": "sample/10BT/001_00000.parquet",
    "imagenet": "ILSVRC2012_img_val.tar",
    "librispeech": "dev-clean.tar.gz",
    "mnist": "t10k-images-idx3-ubyte.gz",
    "ogbg": "raw/edge.csv.gz",
    "wmt": "dev.tgz",
}


def own_tests(name: str) -> ModuleType | None:
    """The tests of a data set; None where a package that they need is missing."""
    try:
        return importlib.import_module(f"test_prepare_{name}")
    except pytest.skip.Exception:
        return None


TESTS = {name: module for name in FILES if (module := own_tests(name))}
for name, module in TESTS.items():
    # Their fixtures of raw files, under names of their own.
    globals()[f"{name}_raw"] = getattr(module, "raw_folder", None) or module.raw
if "librispeech" in TESTS:
    sets = TESTS["librispeech"].sets


class Case(NamedTuple):
    raw: Path
    file: Path  # one of those in `raw`
    prepare: Callable[[Path, Path], PreparedData]


@pytest.fixture(params=FILES)
def case(request) -> Case:
    name = request.param
    if name not in TESTS:
        pytest.skip(f"a package for {name} is missing")
    raw = request.getfixturevalue(f"{name}_raw")
    return Case(raw, raw / FILES[name], TESTS[name].run)


def all_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def add_litter(folder: Path) -> None:
    """What macOS, Windows and tools leave behind, in every folder and for every file."""
    for path in all_files(folder):
        (path.parent / f"._{path.name}").write_bytes(b"Mac OS X        ")
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.h5"):
            (place / name).write_bytes(b"litter")
        for name in ("__MACOSX", ".git", ".ipynb_checkpoints"):
            (place / name).mkdir()
            (place / name / "x.flac").write_bytes(b"litter")


def test_litter_is_passed_over(case, tmp_path):
    clean = case.prepare(case.raw, tmp_path / "clean").manifest
    add_litter(case.raw)
    assert case.prepare(case.raw, tmp_path / "out").manifest == clean


def test_links_to_files_and_folders_are_followed(case, tmp_path):
    direct = case.prepare(case.raw, tmp_path / "direct").manifest
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in case.raw.iterdir():
        (linked / path.name).symlink_to(path)
    assert case.prepare(linked, tmp_path / "out").manifest == direct


def assert_refused(case: Case, tmp_path: Path, message: str) -> str:
    with pytest.raises(BadData, match=message) as refused:
        case.prepare(case.raw, tmp_path / "out")
    text = str(refused.value)
    assert str(case.file) in text
    return text


def test_a_file_without_permission_is_not_called_damaged(case, tmp_path):
    case.file.chmod(0)
    with unprivileged():
        text = assert_refused(case, tmp_path, "permission denied")
    assert "Delete" not in text
    assert f"chmod u+rX {case.file}" in text


def test_a_folder_without_permission_is_named(case, tmp_path):
    case.raw.chmod(0)
    try:
        with unprivileged(), pytest.raises(BadData, match="permission denied") as bad:
            case.prepare(case.raw, tmp_path / "out")
    finally:
        case.raw.chmod(0o700)
    assert str(case.raw) in str(bad.value)


def test_a_pipe_in_place_of_a_file_is_refused_at_once(case, tmp_path):
    case.file.unlink()
    os.mkfifo(case.file)
    assert_refused(case, tmp_path, r"is a pipe \(FIFO\); only files")


def test_a_link_whose_file_is_gone_is_named(case, tmp_path):
    case.file.unlink()
    case.file.symlink_to(tmp_path / "gone")
    assert_refused(case, tmp_path, "is a link to .*gone, which does not exist")


def test_a_link_to_itself_is_named(case, tmp_path):
    case.file.unlink()
    case.file.symlink_to(case.file.name)
    assert_refused(case, tmp_path, "is a link that leads back to itself")


def test_an_empty_file_is_named(case, tmp_path):
    case.file.write_bytes(b"")
    assert_refused(case, tmp_path, ".")


def test_a_file_that_is_a_web_page_is_named(case, tmp_path):
    case.file.write_bytes(b"<html>Please log in</html>" * 100)
    assert_refused(case, tmp_path, ".")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_a_file_that_is_cut_off_is_named(case, tmp_path, share):
    content = case.file.read_bytes()
    case.file.write_bytes(content[: int(share * len(content))])
    assert_refused(case, tmp_path, ".")


@pytest.mark.parametrize("seed", [0, 1, 2, 17, 37])
def test_any_damage_is_bad_data_or_does_no_harm(case, tmp_path, seed):
    """Nothing but `BadData` may come out of bytes that are changed."""
    rng = random.Random(seed)
    content = bytearray(case.file.read_bytes())
    for _ in range(1 + 8 * seed):
        content[rng.randrange(len(content))] = rng.randrange(256)
    case.file.write_bytes(content)
    try:
        case.prepare(case.raw, tmp_path / "out")
    except BadData as error:
        assert str(case.file) in str(error) or "belong together" in str(error)


def test_names_in_other_letters_are_suggested_or_read(case, tmp_path):
    other = case.file.with_name(case.file.name.swapcase())
    case.file.rename(other)
    try:
        case.prepare(case.raw, tmp_path / "out")
    except BadData as error:
        assert other.name in str(error)


def test_a_folder_of_the_name_of_a_file_is_refused(case, tmp_path):
    case.file.unlink()
    case.file.mkdir()
    with pytest.raises(BadData):
        case.prepare(case.raw, tmp_path / "out")


def test_an_empty_folder_of_raw_files_says_what_is_expected(case, tmp_path):
    shutil.rmtree(case.raw)
    case.raw.mkdir()
    with pytest.raises(BadData, match=r"has .*It has: nothing\.\n"):
        case.prepare(case.raw, tmp_path / "out")
