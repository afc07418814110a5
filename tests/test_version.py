"""The check of `make lint` that version and changelog agree."""

import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "check_version.py"


@pytest.fixture(scope="module")
def check():
    spec = importlib.util.spec_from_file_location("check_version", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_and_the_changelog_of_this_checkout_agree(check, capsys):
    assert check.main() == 0, capsys.readouterr().err


def changelog(*sections: str) -> str:
    return "# Changelog\n\n" + "\n".join(
        f"## [{section}]\n\n### Added\n- A thing.\n" for section in sections
    )


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("0.1.0", changelog("Unreleased")),
        ("0.2.0.dev0", changelog("Unreleased", "0.1.0] - [2026-01-01")),
        ("0.1.0", changelog("0.1.0")),
        ("0.10.0", changelog("0.10.0", "0.9.0")),
        ("0.1.0", "## [Unreleased]\n\n" + changelog("0.1.0")),
    ],
)
def test_versions_that_agree(check, version, text):
    assert check.problem(f'__version__ = "{version}"\n', text) is None


@pytest.mark.parametrize(
    ("version", "text", "said"),
    [
        ("0.1.0", changelog("Unreleased", "0.1.0"), "Raise __version__"),
        ("0.2.0", changelog("0.1.0"), r"section '## \[0.2.0\] - DATE'"),
        ("0.1.0", changelog("0.2.0"), "newest version in CHANGELOG.md is 0.2.0"),
        ("0.1.0", "# Changelog\n", "newest version in CHANGELOG.md is None"),
        ("0.10.0", changelog("0.9.0", "0.10.0"), "newest version first"),
    ],
)
def test_versions_that_disagree_are_told(check, version, text, said):
    assert re.search(said, check.problem(f'__version__ = "{version}"\n', text))


def test_a_package_without_a_version_is_told(check):
    assert "sets no __version__" in check.problem("", changelog("Unreleased"))
