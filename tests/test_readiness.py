"""`algoperf prepare --check`: what is reported before hours of work."""

from pathlib import Path

import pytest

from algoperf import cli, download, readiness, registry
from algoperf.datasets.mnist import prepare as mnist
from algoperf.download import no_progress
from algoperf.errors import BadData


@pytest.fixture
def raw(tmp_path):
    mnist.expand_embedded(tmp_path / "raw")
    return tmp_path / "raw"


@pytest.fixture
def prepare(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        status = cli.main(["prepare", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_check_prepares_nothing_and_says_what_there_is(prepare, raw, tmp_path):
    out_folder = tmp_path / "out"
    arguments = ("mnist_mini", "--check", raw, "--data-dir", out_folder)
    status, out, err = prepare(*arguments)
    assert status == 0, err
    assert f"Found: {raw} with 4 files, 818 kB." in out
    assert "train 3,000, validation 1,000, test 1,000" in out
    assert f"Preparing mnist_mini needs 3.9 MB in {out_folder / 'mnist_mini'}" in out
    assert "Estimated time for all:" in out
    assert list(out_folder.iterdir()) == []


def test_the_folder_may_be_that_of_raw_or_the_shipped_one(prepare, raw, tmp_path):
    out = ("--data-dir", tmp_path / "out")
    assert prepare("mnist_mini", "--raw", raw, "--check", *out)[0] == 0
    assert prepare("mnist_mini", "--check", *out)[0] == 0
    status, _, err = prepare("mnist_mini", "--raw", raw, "--check", raw, *out)
    assert status == 2 and "name two sources" in err


def test_what_is_missing_is_named(prepare, raw, tmp_path):
    (raw / "t10k-labels-idx1-ubyte.gz").unlink()
    status, _, err = prepare("mnist_mini", "--check", raw, "--data-dir", tmp_path)
    assert status == 2 and "no file t10k-labels-idx1-ubyte.gz" in err
    status, _, err = prepare("mnist", "--check", "--data-dir", tmp_path)
    assert status == 2 and f"no folder {tmp_path / 'mnist_raw'} with raw files" in err


def test_too_little_space_is_said(prepare, raw, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "free_bytes", lambda folder: 1_000_000)
    status, _, err = prepare("mnist_mini", "--check", raw, "--data-dir", tmp_path)
    assert status == 2 and "Free 2.9 MB more there" in err


class Clock:
    """A time that moves by what preparing costs, and not by itself."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def check(raw: Path, folder: Path, fixed: float, each: float) -> list[str]:
    """The report where preparing takes `fixed` seconds, and `each` for an example."""
    clock = Clock()

    class Slow:
        FORMAT_VERSION, RAW_HELP = mnist.FORMAT_VERSION, mnist.RAW_HELP
        space_needed = staticmethod(mnist.space_needed)

        @staticmethod
        def prepare(raw, preparation, *, splits, subset, progress):
            mnist.prepare(raw, preparation, splits=splits, subset=subset)
            clock.seconds += fixed + each * 3 * subset

    splits = registry.definition("mnist_mini").splits
    return readiness.Check(
        Slow, "mnist", raw, folder, splits, no_progress, clock
    ).report()


def test_the_time_is_that_of_all_examples_and_of_the_beginning(raw, tmp_path):
    *_, last = check(raw, tmp_path / "mnist_mini", fixed=10.0, each=0.1)
    # 10 s, and 5,000 examples of a tenth of a second each.
    assert "Estimated time for all: 8 minutes" in last  # 510 s
    *_, last = check(raw, tmp_path / "mnist_mini", fixed=1.0, each=4.0)
    assert "a split was prepared in 601.0 s" in last
    assert "preparing takes at least that" in last


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.6, "10 s"), (600, "10 minutes"), (9_000, "2.5 hours")]
)
def test_times_are_readable(seconds, text):
    assert readiness._readable(seconds) == text


def test_damaged_files_are_found_by_the_sample(prepare, raw, tmp_path):
    images = raw / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-1000])
    status, _, err = prepare("mnist_mini", "--check", raw, "--data-dir", tmp_path)
    assert status == 2 and f"{images} is cut off" in err
    assert not list(tmp_path.glob(".check-*"))


def test_bad_data_of_a_report_is_one_error(raw, tmp_path):
    with pytest.raises(BadData, match="There is no folder"):
        check(raw / "nothing", tmp_path / "mnist_mini", 0, 0)
