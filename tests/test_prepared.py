"""The folder of prepared data: atomic, resumable, and refused when it is not right."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import MANIFEST, Preparation, PreparedData

SPLITS = Splits(train=3, eval_train=2, validation=2, test=1)
COUNTS = {"train": 3, "validation": 2, "test": 1}


def begin(folder: Path, **changes) -> Preparation:
    settings = {"dataset": "toy", "format_version": 1, **changes}
    return Preparation(folder, **settings)


def write_part(preparation: Preparation, name: str, text: str = "content") -> None:
    with preparation.part(name) as path:
        path.write_text(text)


def prepare(folder: Path, counts=COUNTS, **changes) -> None:
    with begin(folder, **changes) as preparation:
        preparation.identify(raw="the raw files")
        write_part(preparation, "train.bin", "abc")
        write_part(preparation, "more/test.bin", "de")
        preparation.finish(counts, facts={"width": 7})


def open_data(folder: Path, **changes) -> PreparedData:
    return PreparedData.open(folder, **{"dataset": "toy", **changes})


def visible_files(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = (path.relative_to(folder).as_posix() for path in paths)
    return sorted(name for name in names if not name.startswith(".journal"))


def test_what_was_prepared_can_be_opened(tmp_path):
    prepare(tmp_path)
    data = open_data(tmp_path, format_version=1, splits=SPLITS, verify=True)
    assert data.counts == COUNTS
    assert data.facts == {"width": 7}
    assert data.path("more/test.bin").read_text() == "de"
    assert not data.is_partial


def test_a_finished_folder_holds_parts_and_manifest_only(tmp_path):
    prepare(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        MANIFEST,
        "more",
        "train.bin",
    ]


def test_a_part_that_fails_leaves_nothing(tmp_path):
    with begin(tmp_path) as preparation:
        with pytest.raises(RuntimeError), preparation.part("train.bin") as path:
            path.write_text("half")
            raise RuntimeError
        assert not preparation.has("train.bin")
        assert visible_files(tmp_path) == []


def test_finished_parts_are_kept_when_a_later_one_fails(tmp_path):
    with begin(tmp_path) as preparation:
        write_part(preparation, "first.bin")
        with pytest.raises(KeyboardInterrupt), preparation.part("second.bin"):
            raise KeyboardInterrupt
    with begin(tmp_path) as resumed:
        assert resumed.has("first.bin")
        assert not resumed.has("second.bin")


def test_a_killed_process_can_be_resumed(tmp_path):
    script = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from algoperf.prepared import Preparation
        preparation = Preparation(Path(sys.argv[1]), dataset="toy", format_version=1)
        preparation.identify(raw="the raw files")
        with preparation.part("train.bin") as path:
            path.write_text("abc")
        with preparation.part("more/test.bin") as path:
            path.write_text("d")
            os.kill(os.getpid(), 9)
        """
    )
    folder = tmp_path / "toy"
    killed = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert killed.returncode == -9
    written = (folder / "train.bin").stat().st_mtime_ns
    with begin(folder) as resumed:
        assert resumed.has("train.bin")
        assert not resumed.has("more/test.bin")
        assert visible_files(folder) == ["train.bin"]
        write_part(resumed, "more/test.bin", "de")
        resumed.finish(COUNTS, facts={})
    open_data(folder, splits=SPLITS, verify=True)
    assert (folder / "train.bin").stat().st_mtime_ns == written


def test_a_part_that_was_renamed_but_not_entered_is_written_again(tmp_path):
    with begin(tmp_path):
        (tmp_path / "train.bin").write_text("of a run killed before its journal entry")
    with begin(tmp_path) as resumed:
        assert not resumed.has("train.bin")
        write_part(resumed, "train.bin", "abc")
    assert (tmp_path / "train.bin").read_text() == "abc"


def test_a_journal_line_that_was_cut_off_is_ignored(tmp_path):
    with begin(tmp_path) as preparation:
        write_part(preparation, "first.bin")
        write_part(preparation, "second.bin")
    journal = tmp_path / ".journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    with begin(tmp_path) as resumed:
        assert resumed.has("first.bin")
        assert not resumed.has("second.bin")
        write_part(resumed, "second.bin")
    with begin(tmp_path) as resumed_again:
        assert resumed_again.has("second.bin")


def test_a_finished_part_that_changed_size_is_not_taken_for_finished(tmp_path):
    with begin(tmp_path) as preparation:
        write_part(preparation, "train.bin", "abc")
        (tmp_path / "train.bin").write_text("ab")
        assert not preparation.has("train.bin")
        with pytest.raises(BadData, match=r"train\.bin has vanished or changed"):
            preparation.finish(COUNTS, facts={})


def test_a_damaged_part_of_a_finished_folder_is_written_anew(tmp_path):
    prepare(tmp_path)
    (tmp_path / "train.bin").unlink()
    with begin(tmp_path) as repair:
        assert not repair.is_finished
        repair.identify(raw="the raw files")
        assert repair.has("more/test.bin")
        write_part(repair, "train.bin", "abc")
        with pytest.raises(BadData, match="not finished"):
            open_data(tmp_path)
        repair.finish(COUNTS, facts={})
    open_data(tmp_path, splits=SPLITS, verify=True)


def test_beginning_again_on_a_finished_folder_changes_nothing(tmp_path):
    prepare(tmp_path)
    with begin(tmp_path) as preparation:
        assert preparation.is_finished
    assert visible_files(tmp_path) == [MANIFEST, "more/test.bin", "train.bin"]
    assert not (tmp_path / ".journal.jsonl").exists()


def test_resuming_with_another_subset_is_refused(tmp_path):
    begin(tmp_path, subset=10).close()
    with pytest.raises(BadData, match=r"subset 10, not .*subset None\. Delete"):
        begin(tmp_path)


def test_resuming_with_other_raw_files_is_refused(tmp_path):
    with begin(tmp_path) as preparation:
        preparation.identify(raw={"train.gz": 10}, vocabulary=32)
    with (
        begin(tmp_path) as resumed,
        pytest.raises(BadData, match=r"other input \(different: raw\)"),
    ):
        resumed.identify(raw={"train.gz": 11}, vocabulary=32)


def test_a_second_preparation_of_the_same_folder_is_refused(tmp_path):
    with begin(tmp_path), pytest.raises(BadData, match="by another process"):
        begin(tmp_path)


def test_a_subset_of_nothing_is_refused(tmp_path):
    with pytest.raises(BadData, match="--subset 0"):
        begin(tmp_path, subset=0)


def test_a_destination_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadData, match="Cannot make the folder"):
        begin(tmp_path / "file")


def test_the_space_that_is_needed_and_free_is_said(tmp_path):
    with begin(tmp_path) as preparation:
        said = preparation.check_space(123_000)
    assert said.startswith(f"Preparing toy needs 123 kB in {tmp_path};")
    assert said.endswith("are free.")


def test_too_small_a_disk_is_refused_before_the_start(tmp_path):
    with (
        begin(tmp_path) as preparation,
        pytest.raises(BadData, match=r"1,000\.0 TB in"),
    ):
        preparation.check_space(10**15)


def test_parts_that_are_there_need_no_more_space(tmp_path):
    with begin(tmp_path) as preparation:
        write_part(preparation, "train.bin", "x" * 1000)
        assert "needs 500 bytes" in preparation.check_space(1500)


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(tmp_path):
    with begin(tmp_path) as preparation:
        with (
            pytest.raises(BadData, match=f"No space left on the disk of {tmp_path}"),
            preparation.part("train.bin") as path,
        ):
            path.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert not preparation.has("train.bin")
        assert visible_files(tmp_path) == []


def test_another_io_error_is_not_called_a_full_disk(tmp_path):
    with (
        begin(tmp_path) as preparation,
        pytest.raises(PermissionError),
        preparation.part("train.bin"),
    ):
        raise PermissionError


def test_a_missing_folder_is_called_not_prepared(tmp_path):
    command = f"Run `algoperf prepare toy --data-dir {tmp_path}`"
    with pytest.raises(BadData, match=f"not prepared: .*{command}"):
        open_data(tmp_path / "toy")


def test_an_unfinished_folder_cannot_be_opened(tmp_path):
    with begin(tmp_path) as preparation:
        write_part(preparation, "train.bin")
    with pytest.raises(BadData, match="not finished"):
        open_data(tmp_path)


def test_another_data_set_is_refused(tmp_path):
    prepare(tmp_path)
    with pytest.raises(BadData, match="holds data set 'toy', not 'other'"):
        open_data(tmp_path, dataset="other")


def test_another_format_version_is_refused(tmp_path):
    prepare(tmp_path)
    with pytest.raises(BadData, match=r"has format version 1 .* reads 2"):
        open_data(tmp_path, format_version=2)


def test_counts_that_are_not_the_definitions_are_refused(tmp_path):
    prepare(tmp_path, counts={**COUNTS, "test": 2})
    with pytest.raises(BadData, match=r"test 2 examples; .* test 1\."):
        open_data(tmp_path, splits=SPLITS)


def test_a_missing_file_is_named(tmp_path):
    prepare(tmp_path)
    (tmp_path / "train.bin").unlink()
    with pytest.raises(BadData, match=r"train\.bin is missing; 3 bytes are expected"):
        open_data(tmp_path)


def test_a_truncated_file_is_named(tmp_path):
    prepare(tmp_path)
    (tmp_path / "train.bin").write_text("ab")
    with pytest.raises(BadData, match=r"train\.bin has 2 bytes; 3 bytes are expected"):
        open_data(tmp_path)


def test_a_changed_file_of_the_same_size_is_found_by_verify(tmp_path):
    prepare(tmp_path)
    (tmp_path / "train.bin").write_text("abX")
    open_data(tmp_path)
    with pytest.raises(BadData, match=r"train\.bin is damaged"):
        open_data(tmp_path, verify=True)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"manifest_version": 1}'])
def test_a_damaged_manifest_is_one_clear_error(tmp_path, text):
    prepare(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BadData, match=r"manifest\.json is damaged"):
        open_data(tmp_path)


def test_a_manifest_of_another_version_is_refused(tmp_path):
    prepare(tmp_path)
    content = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**content, "manifest_version": 9}))
    with pytest.raises(BadData, match="has manifest version 9"):
        open_data(tmp_path)


def test_a_partial_copy_is_refused(tmp_path):
    prepare(tmp_path, subset=2, counts={"train": 2, "validation": 2, "test": 1})
    with pytest.raises(BadData, match=r"partial copy \(--subset 2\)"):
        open_data(tmp_path, splits=SPLITS)
    with pytest.raises(BadData, match="partial copy"):
        open_data(tmp_path)


def test_a_partial_copy_can_be_allowed(tmp_path):
    prepare(tmp_path, subset=2, counts={"train": 2, "validation": 2, "test": 1})
    assert open_data(tmp_path, splits=SPLITS, allow_partial=True).is_partial


def test_a_partial_copy_opens_for_who_asks_for_its_own_splits(tmp_path):
    prepare(tmp_path, subset=1, counts={"train": 1, "validation": 1, "test": 1})
    own = open_data(tmp_path, allow_partial=True).splits_like(SPLITS)
    assert own == Splits(train=1, eval_train=1, validation=1, test=1)
    open_data(tmp_path, splits=own)


def test_an_unknown_part_is_named_with_the_nearest_one(tmp_path):
    prepare(tmp_path)
    with pytest.raises(
        BadData, match=r"no part 'trian\.bin'. Did you mean 'train\.bin'"
    ):
        open_data(tmp_path).path("trian.bin")


@pytest.mark.parametrize("value", [None, "7", [7], 7.5, -1, 2**40])
def test_a_fact_that_is_not_what_was_written_is_refused(tmp_path, value):
    prepare(tmp_path)
    data = open_data(tmp_path)
    assert data.fact("width", int) == 7
    changed = dataclasses.replace(data.manifest, facts={"width": value})
    with pytest.raises(BadData, match=r"manifest\.json: 'width' is .*did not write"):
        PreparedData(tmp_path, changed).fact("width", int)


@pytest.mark.parametrize("value", [None, {"test": ["a"]}, {"train": [1]}, {"train": 1}])
def test_a_list_of_parts_that_is_none_is_refused(tmp_path, value):
    prepare(tmp_path)
    manifest = open_data(tmp_path).manifest
    good = dataclasses.replace(manifest, facts={"p": {"train": ["train.bin"]}})
    assert PreparedData(tmp_path, good).parts("p", "train") == ["train.bin"]
    bad = dataclasses.replace(manifest, facts={"p": value})
    with pytest.raises(BadData, match="did not write"):
        PreparedData(tmp_path, bad).parts("p", "train")


@pytest.mark.parametrize("seed", range(40))
def test_an_array_with_a_damaged_header_is_one_clear_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    with begin(tmp_path) as preparation:
        with preparation.part("x.npy") as path, path.open("wb") as file:
            np.save(file, np.arange(5))
        preparation.finish(COUNTS, facts={})
    data = open_data(tmp_path)
    assert data.array("x.npy").tolist() == [0, 1, 2, 3, 4]
    content = bytearray(data.path("x.npy").read_bytes())
    for at in rng.integers(0, 80, 1 + seed // 2):
        content[at] = rng.integers(256)
    data.path("x.npy").write_bytes(content)
    try:
        data.array("x.npy")
    except BadData as error:
        assert f"{tmp_path / 'x.npy'} is damaged" in str(error)
        assert "`algoperf prepare" in str(error)


@pytest.mark.parametrize("line", ["7", "[]", '{"name": 1}', '{"source": 3}', "{}"])
def test_a_damaged_journal_is_one_clear_error_or_passed_over(tmp_path, line):
    with begin(tmp_path) as preparation:
        write_part(preparation, "train.bin")
    with (tmp_path / ".journal.jsonl").open("a") as journal:
        journal.write(line + "\n")
    try:
        begin(tmp_path).close()
    except BadData as error:
        assert ".journal.jsonl is damaged" in str(error)


def test_a_folder_that_cannot_be_written_while_parts_are_is_one_sentence(tmp_path):
    with begin(tmp_path) as preparation:
        (tmp_path / ".partial").write_text("in the way")
        with (
            pytest.raises(BadData, match=f"Cannot write {tmp_path}"),
            preparation.part("train.bin"),
        ):
            pass


def test_a_library_that_loses_the_number_of_an_error_is_understood(tmp_path):
    with (
        begin(tmp_path) as preparation,
        pytest.raises(BadData, match=r"Cannot write .*: 10 requested and 3 written"),
        preparation.part("train.bin"),
    ):
        raise OSError("10 requested and 3 written")
