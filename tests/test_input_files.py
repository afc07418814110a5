"""Files as people leave them: paths, links, litter, pipes, permissions, damage."""

import errno
import gzip
import os
import socket

import pytest
from privileges import unprivileged

from algoperf import input_files
from algoperf.errors import BadData


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store",
        "._a.flac",
        "a/._b",
        "__MACOSX/a/b.csv",
        "Thumbs.db",
        "x/THUMBS.DB",
        "Desktop.ini",
        ".git/config",
        "./.hidden",
    ],
)
def test_litter_is_recognised(name):
    assert input_files.is_litter(name)


@pytest.mark.parametrize("name", ["a", "./a/b.c", "a.DS_Store", "../a", "/a/b", "a._b"])
def test_other_files_are_no_litter(name):
    assert not input_files.is_litter(name)


def test_files_below_a_folder_come_in_the_order_of_their_paths(tmp_path):
    for name in ("b/2", "b/1", "a", "c/d/e", ".hidden/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "z").symlink_to(tmp_path / "c")
    found = list(input_files.files_below(tmp_path))
    names = [entry.path.relative_to(tmp_path).as_posix() for entry in found]
    assert names == ["a", "b/1", "b/2", "c/d/e", "z/d/e"]
    assert (
        input_files.size_bytes(tmp_path)
        == sum(entry.size_bytes for entry in found)
        == 17
    )


def test_a_loop_of_folders_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    with pytest.raises(
        BadData, match="up is a link to a folder that contains it, a loop"
    ):
        list(input_files.files_below(tmp_path))


def test_two_links_to_one_folder_are_no_loop(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").touch()
    (tmp_path / "b").symlink_to("a")
    assert len(list(input_files.files_below(tmp_path))) == 2


def test_sockets_and_devices_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names of sockets must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(BadData, match="s is a socket; only files"):
            input_files.is_file(tmp_path / "s")
    (tmp_path / "null").symlink_to("/dev/null")
    with pytest.raises(BadData, match="null is a device"):
        input_files.size_bytes(tmp_path / "null")


def test_nothing_is_no_error_where_it_is_looked_for(tmp_path):
    (tmp_path / "file").touch()
    assert input_files.look_up(tmp_path / "nothing") is None
    assert input_files.look_up(tmp_path / "file" / "below") is None
    assert input_files.size_or_none(tmp_path) is None
    assert input_files.first_of(tmp_path, "nothing", "file").path == tmp_path / "file"


def test_what_is_missing_is_said_with_what_is_there(tmp_path):
    for number in range(12):
        (tmp_path / f"file{number:02}").touch()
    (tmp_path / ".DS_Store").touch()
    error = input_files.not_found(tmp_path, "no file file12", "HELP", name="file12")
    assert "has no file file12. Did you mean 'file" in str(error)
    assert "file08, file09 and 2 more.\nHELP" in str(error)
    assert ".DS_Store" not in str(error)


def test_a_name_in_other_letters_is_suggested_first(tmp_path):
    (tmp_path / "TRAIN.TAR").touch()
    error = input_files.not_found(
        tmp_path, "no file train.tar", "HELP", name="train.tar"
    )
    assert "Did you mean 'TRAIN.TAR'? Upper and lower case must be right." in str(error)


def raised_by(error: Exception) -> str:
    with pytest.raises(BadData) as refused, input_files.reading("/raw/x"):
        raise error
    return str(refused.value)


def test_an_error_of_the_disk_is_not_called_damage():
    text = raised_by(OSError(errno.EIO, os.strerror(errno.EIO), "/raw/x"))
    assert text.startswith("/raw/x cannot be read (Input/output error). Check the disk")


def test_a_file_that_vanished_is_not_called_damaged():
    text = raised_by(FileNotFoundError(errno.ENOENT, "no", "/raw/x"))
    assert text == "/raw/x cannot be read: /raw/x does not exist, or no longer."


def test_errors_of_writing_are_left_to_whoever_writes():
    with pytest.raises(OSError) as full, input_files.reading("/raw/x"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full.value.errno == errno.ENOSPC


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(ZeroDivisionError), input_files.reading("/raw/x"):
        raise ZeroDivisionError


def test_a_long_text_of_a_library_is_cut_and_on_one_line():
    text = raised_by(gzip.BadGzipFile("a\nb  c " + 1000 * "x"))
    assert text.startswith("/raw/x is damaged (a b c xxx")
    assert len(text) < 300 and "\n" not in text


def test_a_folder_that_may_not_be_searched_is_named(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "x").touch()
    (tmp_path / "closed").chmod(0)
    with unprivileged():
        for look in (input_files.is_file, input_files.size_bytes):
            with pytest.raises(BadData, match=r"permission denied for .*closed/x"):
                look(tmp_path / "closed" / "x")
        with pytest.raises(BadData, match=r"permission denied for .*closed"):
            input_files.entries(tmp_path / "closed")
    (tmp_path / "closed").chmod(0o700)


def test_a_file_that_is_not_there_cannot_be_opened(tmp_path):
    with (
        pytest.raises(BadData, match=r"There is no file .*x\.$"),
        input_files.opened(tmp_path / "x"),
    ):
        pass
