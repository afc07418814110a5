"""Official files from their addresses and mirrors, and what would be fetched."""

import hashlib

import pytest
from file_server import CONTENT, SHA256, server

from algoperf import cli, download, downloads, registry
from algoperf.datasets.mnist import prepare as mnist
from algoperf.downloads import OfficialFile
from algoperf.errors import BadData

__all__ = ["server"]  # a fixture
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    fetch = download.fetch
    monkeypatch.setattr(
        downloads, "fetch", lambda *a, **k: fetch(*a, **k, sleep=lambda _: None)
    )


def official(server, *urls):
    return OfficialFile((*urls, server.url), about_bytes=len(CONTENT), md5=MD5)


def test_files_are_fetched_and_checked(server, tmp_path):
    downloads.fetch_all([official(server)], tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_mirror_is_asked_where_the_official_address_fails(server, tmp_path, capsys):
    gone = "http://localhost:9/data.bin"
    downloads.fetch_all([official(server, gone)], tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    out = capsys.readouterr().out
    assert f"Could not download {gone}" in out
    assert f"Trying {server.url} instead" in out


def test_a_mirror_goes_on_where_the_official_address_broke_off(server, tmp_path):
    server.break_after = [3000, 2000, 1000]
    downloads.fetch_all([official(server, server.url)], tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=6000-"


def test_a_mirror_with_another_file_is_refused(server, tmp_path):
    server.content = CONTENT[::-1]
    with pytest.raises(BadData, match="has the md5 checksum"):
        downloads.fetch_all([official(server, server.url)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_that_is_there_is_no_reason_to_ask_a_mirror(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"other")
    with pytest.raises(BadData, match="has the md5 checksum"):
        downloads.fetch_all([official(server, server.url)], tmp_path)
    assert server.ranges == []


def test_a_plan_says_what_is_there_and_what_is_missing(server, tmp_path):
    files = [
        official(server),
        OfficialFile(("http://a/b.gz", "http://c/b.gz"), 2_000_000, sha256=SHA256),
        OfficialFile(("http://a/d.gz",), 3_000_000),
    ]
    (tmp_path / "data.bin").write_bytes(b"")
    (tmp_path / "b.gz.partial").write_bytes(bytes(77))
    first, second, third, last = downloads.plan(files, tmp_path)
    assert "data.bin: about 1.0 MB, there already; md5 checksum" in first
    assert "to continue after 77 bytes; sha256 checksum; http://a/b.gz or" in second
    assert "d.gz: about 3.0 MB, to download; no checksum" in third
    assert last == f"In all about 5.0 MB to download into {tmp_path}."
    assert server.ranges == []


def modules():
    names = registry.folders("datasets")
    return {name: registry.dataset_module(name, "prepare") for name in names}


@pytest.mark.parametrize("name", registry.folders("datasets"))
def test_a_data_set_that_is_downloaded_lists_its_files(name):
    module = modules()[name]
    assert hasattr(module, "download") == hasattr(module, "DOWNLOADS")
    for file in getattr(module, "DOWNLOADS", ()):
        assert file.about_bytes > 0
        assert all(url.startswith(("http://", "https://")) for url in file.urls)
        assert {url.rpartition("/")[2] for url in file.urls} == {file.name}
        # OGB publishes none; its zip file has its own.
        assert file.md5 or file.sha256 or name == "ogbg"


def test_a_dry_run_lists_and_does_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "download", lambda *a: pytest.fail("a download"))
    status = cli.main(["prepare", "mnist", "--dry-run", "--data-dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert status == 0 and list(tmp_path.iterdir()) == []
    assert "train-images-idx3-ubyte.gz: about 9.9 MB, to download" in out
    assert f"In all about 11.6 MB to download into {tmp_path / 'mnist_raw'}." in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("mnist_mini",), 0, "mnist_mini needs no download"),
        (("imagenet",), 2, "cannot be downloaded by a program"),
        (("mnist", "--raw", "."), 2, "--dry-run lists downloads"),
        (("criteo1tb",), 2, "What you have already can be used with --from published."),
    ],
)
def test_a_dry_run_says_where_there_is_nothing_to_download(
    capsys, arguments, status, message
):
    assert cli.main(["prepare", *arguments, "--dry-run"]) == status
    captured = capsys.readouterr()
    assert message in captured.out + captured.err
