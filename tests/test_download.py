"""Downloads from a server on this machine; unpacking of good and bad archives."""

import gzip
import io
import tarfile
import zipfile

import pytest
from file_server import CONTENT, SHA256, server

from algoperf import download
from algoperf.errors import BadData

__all__ = ["server"]  # a fixture


def fetch(server, path, **changes):
    return download.fetch(server.url, path, sleep=lambda seconds: None, **changes)


def leave_partial(server, path, num_bytes):
    """A first call that breaks off after `num_bytes`."""
    server.break_after = [num_bytes]
    with pytest.raises(BadData):
        fetch(server, path, attempts=1)
    server.ranges.clear()


def test_a_file_is_downloaded_and_nothing_is_left_beside_it(server, tmp_path):
    path = fetch(
        server, tmp_path / "raw" / "data.bin", sha256=SHA256, size=len(CONTENT)
    )
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_there_is_not_downloaded_again(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(CONTENT)
    fetch(server, tmp_path / "data.bin", sha256=SHA256)
    assert server.ranges == []


def test_a_wrong_file_that_is_there_is_named(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"other")
    with pytest.raises(BadData, match=r"data\.bin has 5 bytes; 1,024,000 are expected"):
        fetch(server, tmp_path / "data.bin", size=len(CONTENT))


def test_a_broken_connection_is_taken_up_where_it_broke(server, tmp_path):
    server.break_after = [1000]
    path = fetch(server, tmp_path / "data.bin", sha256=SHA256)
    assert server.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == CONTENT


def test_a_later_call_goes_on_where_an_earlier_one_broke_off(server, tmp_path):
    leave_partial(server, tmp_path / "data.bin", 1000)
    assert not (tmp_path / "data.bin").exists()
    path = fetch(server, tmp_path / "data.bin")
    assert server.ranges == ["bytes=1000-"]
    assert path.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_begun_again(server, tmp_path):
    leave_partial(server, tmp_path / "data.bin", 1000)
    server.etag, server.content = '"v2"', b"new" * 1000
    assert fetch(server, tmp_path / "data.bin").read_bytes() == b"new" * 1000


def test_without_etag_or_checksum_a_download_is_begun_again(server, tmp_path):
    server.etag = None
    leave_partial(server, tmp_path / "data.bin", 1000)
    assert fetch(server, tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_without_etag_a_checksum_allows_to_go_on(server, tmp_path):
    server.etag = None
    leave_partial(server, tmp_path / "data.bin", 1000)
    fetch(server, tmp_path / "data.bin", sha256=SHA256)
    assert server.ranges == ["bytes=1000-"]


def test_a_partial_file_that_is_complete_is_accepted(server, tmp_path):
    leave_partial(server, tmp_path / "data.bin", 1000)
    (tmp_path / "data.bin.partial").write_bytes(CONTENT)
    assert fetch(server, tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_partial_file_that_is_too_long_is_begun_again(server, tmp_path):
    leave_partial(server, tmp_path / "data.bin", 1000)
    (tmp_path / "data.bin.partial").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_wrong_checksum_keeps_nothing(server, tmp_path, algorithm):
    with pytest.raises(BadData, match=f"data.bin has the {algorithm} checksum"):
        fetch(server, tmp_path / "data.bin", **{algorithm: "0" * 64})
    assert list(tmp_path.iterdir()) == []


def test_an_overloaded_server_is_asked_again(server, tmp_path):
    server.status = [503, 500]
    assert fetch(server, tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_server_that_stands_still_is_left_and_asked_again(
    server, tmp_path, monkeypatch
):
    monkeypatch.setattr(download, "_TIMEOUT_SECONDS", 0.2)
    server.break_after, server.stall_seconds = [1000], 1.0
    path = fetch(server, tmp_path / "data.bin", sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-"]


def test_a_missing_file_is_asked_for_once_and_says_what_to_do(server, tmp_path):
    server.status = [404, 404]
    with pytest.raises(BadData, match=r"by hand, name it data\.bin, .*--raw DIR"):
        fetch(server, tmp_path / "data.bin")
    assert len(server.ranges) == 1


def test_no_network_says_what_to_do(tmp_path):
    with pytest.raises(BadData, match=r"Could not download .* --raw DIR"):
        download.fetch(
            "http://127.0.0.1:1/x", tmp_path / "x", sleep=lambda seconds: None
        )


def test_an_address_of_another_kind_is_refused(tmp_path):
    with pytest.raises(BadData, match="not a http:// or https:// address"):
        download.fetch("file:///etc/hostname", tmp_path / "x")


def test_progress_ends_at_the_total(server, tmp_path):
    calls = []
    fetch(server, tmp_path / "data.bin", progress=lambda *call: calls.append(call))
    assert calls[-1] == ("downloading data.bin", len(CONTENT), len(CONTENT))


def test_the_printer_shows_no_more_than_its_period_allows():
    stream, seconds = io.StringIO(), iter([0.0, 0.1, 0.6, 0.7])
    printer = download.ProgressPrinter(stream, now=lambda: next(seconds))
    for done in (1, 2, 3, 4):
        printer("work", done, 4)
    assert stream.getvalue().splitlines() == ["work: 25 %", "work: 75 %", "work: 100 %"]


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (4542, "4,542 bytes"),
        (9_912_422, "9.9 MB"),
        (350 * 10**9, "350 GB"),
        (10**13, "10.0 TB"),
    ],
)
def test_sizes_are_readable(num_bytes, text):
    assert download.readable_size(num_bytes) == text


def make_tar(path, name="folder/file.txt", **fields):
    member = tarfile.TarInfo(name)
    member.size = 4
    for field, value in fields.items():
        setattr(member, field, value)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(b"text"))
    return path


def make_zip(path, name="folder/file.txt"):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, "text")
    return path


@pytest.mark.parametrize(
    ("make", "name"), [(make_tar, "a.tar.gz"), (make_tar, "a.tgz"), (make_zip, "a.zip")]
)
def test_an_archive_is_unpacked_into_a_folder(tmp_path, make, name):
    folder = download.unpack(make(tmp_path / name), tmp_path / "out")
    assert (folder / "folder" / "file.txt").read_text() == "text"


def test_a_gzip_file_is_unpacked_into_a_file(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text"))
    path = download.unpack(tmp_path / "a.csv.gz", tmp_path / "a.csv")
    assert path.read_bytes() == b"text"


@pytest.mark.parametrize(
    ("make", "name"), [(make_tar, "a.tar.gz"), (make_zip, "a.zip")]
)
def test_a_member_outside_the_folder_is_refused(tmp_path, make, name):
    archive = make(tmp_path / name, "../escaped.txt")
    with pytest.raises(BadData, match=f"{name} cannot be unpacked"):
        download.unpack(archive, tmp_path / "sub" / "out")
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not (tmp_path / "sub" / "out").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    archive = make_tar(
        tmp_path / "a.tar.gz", type=tarfile.SYMTYPE, linkname="../../etc", size=0
    )
    with pytest.raises(BadData, match="cannot be unpacked"):
        download.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "name"), [(make_tar, "a.tar.gz"), (make_zip, "a.zip")]
)
def test_a_truncated_archive_leaves_nothing(tmp_path, make, name):
    archive = make(tmp_path / name)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(BadData, match="damaged or not what its name says"):
        download.unpack(archive, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_truncated_gzip_file_leaves_nothing(tmp_path):
    archive = tmp_path / "a.gz"
    archive.write_bytes(gzip.compress(b"text" * 99)[:-5])
    with pytest.raises(BadData, match="damaged"):
        download.unpack(archive, tmp_path / "a")
    assert list(tmp_path.iterdir()) == [archive]


def test_what_is_unpacked_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    assert download.unpack(tmp_path / "a.zip", tmp_path / "out") == tmp_path / "out"


def test_an_archive_of_unknown_kind_is_refused(tmp_path):
    with pytest.raises(BadData, match=r"no \.tar"):
        download.unpack(tmp_path / "a.rar", tmp_path / "out")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(BadData, match=r"There is no file .*a\.zip"):
        download.unpack(tmp_path / "a.zip", tmp_path / "out")
