import os
from pathlib import Path

import pytest

from algoperf import paths
from algoperf.errors import BadSettings


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DISK", "/mnt/disk")
    monkeypatch.delenv("UNSET_DISK", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "/home/me"),
        ("~/data", "/home/me/data"),
        ("$DISK/data", "/mnt/disk/data"),
        ("${DISK}/data", "/mnt/disk/data"),
        ("$HOME$DISK", "/home/me/mnt/disk"),
        ("a/~/b", "a/~/b"),
        ("./~", "~"),
        ("relative/path", "relative/path"),
        ("costs $", "costs $"),
        ("-", "-"),
    ],
)
def test_home_and_variables_are_expanded(text, path):
    assert paths.expanded(text) == Path(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("a\0b", "NUL"),
        ("$UNSET_DISK/data", r"variable \$UNSET_DISK is not set"),
        ("${UNSET_DISK}/data", r"variable \$\{UNSET_DISK\} is not set"),
        ("~no-such-user/data", "home directory of '~no-such-user' is unknown"),
    ],
)
def test_what_cannot_be_expanded_is_refused(text, said):
    with pytest.raises(BadSettings, match=said):
        paths.expanded(text)


def test_an_empty_variable_makes_no_path(monkeypatch):
    monkeypatch.setenv("DISK", "")
    with pytest.raises(BadSettings, match="empty when it is expanded"):
        paths.expanded("$DISK")


def test_a_name_that_has_a_dollar_sign_is_found(tmp_path):
    (tmp_path / "a$UNSET_DISK").mkdir()
    assert paths.expanded(f"{tmp_path}/a$UNSET_DISK") == tmp_path / "a$UNSET_DISK"


def test_a_relative_path_needs_a_current_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.rmdir(tmp_path)
    with pytest.raises(BadSettings, match="no longer exists"):
        paths.absolute(Path("data"))
    assert paths.absolute(Path("/data")) == Path("/data")


@pytest.mark.parametrize(
    ("path", "text"), [("a b", "a b"), ("", "''"), ("a\nb", r"'a\nb'")]
)
def test_odd_paths_are_quoted(path, text):
    assert paths.shown(path) == text


def test_long_paths_are_cut():
    assert paths.shown("a" * 5_000) == f"'{'a' * 200}'… (5,000 characters)"
