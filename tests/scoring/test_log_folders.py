"""Folders as people have them: linked, copied, renamed, empty."""

import os
import shutil
from pathlib import Path

import pytest
from made_logs import GOOD, SLOW, ranked, write_submission, write_trial

from algoperf import cli

# Links


@pytest.mark.parametrize(
    "level", ["", "study_1", "study_1/alpha_jax", "study_1/alpha_jax/trial_1"]
)
def test_linked_folders_count_at_every_level(root, run, level):
    expected = run()[1]
    original = root / "logs/two" / level
    moved = root / "elsewhere" / "x"
    moved.parent.mkdir()
    shutil.move(original, moved)
    original.symlink_to(moved)
    assert run() == (0, expected, "")


def test_a_linked_evaluation_file_is_read(root, run):
    expected = run()[1]
    file = root / "logs/two/study_1/alpha_jax/trial_1/eval_measurements.csv"
    shutil.move(file, root / "moved.csv")
    file.symlink_to(root / "moved.csv")
    assert run()[1] == expected


def test_a_linked_root_is_read(root, run):
    (root / "link").symlink_to(root / "logs")
    assert ranked(run(directory=root / "link")[1]) == {"one": 1.0, "two": 0.8333}


@pytest.mark.parametrize(
    "place", ["logs/loop", "logs/one/study_2", "logs/one/study_1/loop"]
)
@pytest.mark.parametrize("target", ["self", ".", "..", "logs"])
def test_a_loop_of_links_is_one_sentence(root, run, place, target):
    link = root / place
    link.symlink_to({"self": link, "logs": root / "logs"}.get(target, target))
    status, out, err = run()
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "loop" in err or "levels of symbolic links" in err
    assert str(link) in err


def test_two_links_that_lead_to_each_other_are_one_sentence(root, run):
    (root / "logs/a").symlink_to(root / "logs/b")
    (root / "logs/b").symlink_to(root / "logs/a")
    status, _, err = run()
    assert status == 2 and err.count("\n") == 1


def test_a_circle_through_another_folder_is_one_sentence(root, run):
    (root / "store").mkdir()
    (root / "store/back").symlink_to(root / "logs")
    (root / "logs/out").symlink_to(root / "store")
    status, _, err = run()
    assert status == 2 and "logs/out/back leads back to" in err


def test_a_broken_link_is_noted(root, run):
    (root / "logs/three").symlink_to(root / "gone")
    status, out, _ = run()
    assert status == 0 and "left out: three is a link to nothing" in out


def test_a_link_that_a_checkout_made_a_text_file_is_noted(root, run):
    shutil.move(root / "logs/two", root / "elsewhere")
    (root / "logs/two").write_text("../elsewhere")
    (root / "logs/README").write_text("and/or")
    status, out, _ = run()
    assert status == 0 and set(ranked(out)) == {"one"}
    assert "left out: two is a file that names the folder ../elsewhere" in out
    assert "README" not in out


def test_a_folder_that_is_reached_twice_counts_once(root, run):
    (root / "logs/a_latest").symlink_to(root / "logs/one")
    status, out, _ = run()
    assert status == 0 and set(ranked(out)) == {"one", "two"}
    assert "left out: a_latest is the same folder as one" in out


# Copies, backups, hidden folders


@pytest.mark.parametrize(
    "name",
    [
        "study_1.bak",
        "study_1 (copy)",
        "study_1 (another copy)",
        "study_1 - Copy",
        "study_1 - Copy (2)",
        "study_1 copy 2",
        "Copy of study_1",
        "study_1~",
        "study_1_old",
        "study_1.2024-08-01",
        ".study_1",
        "backup",
        "alpha_jax",  # named like a workload, and holds no trial
    ],
)
def test_a_copy_inside_a_submission_is_noted(root, run, name):
    before = ranked(run()[1])
    shutil.copytree(root / "logs/one/study_1", root / "logs/one" / name)
    status, out, _ = run()
    assert status == 0 and ranked(out) == before
    assert f"left out: one/{name} " in out


@pytest.mark.parametrize(
    "name",
    [
        "one.bak",
        "one.bak.2",
        "one (copy)",
        "one (1)",
        "one - Copy",
        "Kopie von one",
        "one~",
        ".snapshot",
        ".one",
        "one.orig",
        "one.old",
        "one_backup",
        "one-copy",
        "logs~",
        "__MACOSX",
        "#one#",
    ],
)
def test_a_copied_submission_is_noted(root, run, name):
    before = ranked(run()[1])
    shutil.copytree(root / "logs/one", root / "logs" / name)
    status, out, _ = run()
    assert status == 0 and ranked(out) == before
    assert f"left out: {name} " in out


@pytest.mark.parametrize(
    "path",
    [
        "study_1/alpha_jax.bak",
        "study_1/alpha_jax (copy)",
        "study_1/alpha_jax_old",
        "study_1/alpha_jax_copy",
        "study_1/.alpha_jax",
        "study_1/alpha_jax/trial_1.bak",
        "study_1/alpha_jax/trial_1 (copy)",
        "study_1/alpha_jax/trial_1_old",
        "study_1/alpha_jax/.trial_1",
        "study_1/alpha_jax/trial_1~",
    ],
)
def test_a_copied_workload_or_trial_is_noted(root, run, path):
    before = ranked(run()[1])
    original = path.split("/")[:-1] + [
        "alpha_jax" if path.count("/") == 1 else "trial_1"
    ]
    shutil.copytree(root / "logs/one" / Path(*original), root / "logs/one" / path)
    status, out, _ = run()
    assert status == 0 and ranked(out) == before
    assert f"left out: one/{path} " in out


@pytest.mark.parametrize(
    "name", ["one_v2", "one_jax", "backup_free", "copying", "adam.v2"]
)
def test_a_submission_with_a_plain_name_counts(root, run, name):
    write_submission(root / "logs" / name)
    assert name in ranked(run()[1])


def test_a_folder_that_holds_nothing_but_copies_says_so(root, run):
    shutil.rmtree(root / "logs/two")
    shutil.move(root / "logs/one", root / "logs/one.bak")
    status, _, err = run()
    assert status == 2 and "No trials under" in err
    assert "one.bak is named like a copy or a backup" in err


def test_many_left_out_folders_are_counted(root, run):
    for number in range(30):
        (root / f"logs/one/scratch_{number}").mkdir()
    out = run()[1]
    assert out.count("left out: one/scratch") == 10
    assert "left out: 20 more folders" in out


# Odd folders


@pytest.mark.parametrize("name", ["Study_1", "STUDY-1", "study_1.2024", "study 1"])
def test_a_renamed_study_is_no_submission(root, run, name):
    (root / "logs/one/study_1").rename(root / "logs/one" / name)
    status, out, _ = run()
    assert status == 0 and set(ranked(out)) == {"two"}
    assert f"left out: one/{name} is no submission" in out


def test_a_folder_without_trials_is_noted(root, run):
    (root / "logs/three").mkdir()
    (root / "logs/one/study_2").mkdir()
    out = run()[1]
    assert "left out: three holds no trial" in out
    assert "left out: one/study_2 holds no trial" in out


def test_an_empty_study_of_one_submission_costs_the_others_nothing(root, run):
    expected = ranked(run()[1])
    (root / "logs/one/study_2/alpha_jax/trial_1").mkdir(parents=True)
    status, out, _ = run()
    assert status == 0 and ranked(out) == expected
    assert "only the first 1 studies count; left out: 1" in out


def test_studies_beyond_those_of_the_ruleset_do_not_count(root, run):
    for name, content in (("one", GOOD), ("two", SLOW)):
        write_submission(root / "logs" / name, content, studies=5)
    write_submission(root / "logs/one", SLOW, studies=7)
    write_submission(root / "logs/one", GOOD, studies=5)
    out = run()[1]
    assert ranked(out) == {"one": 1.0, "two": 0.8333}
    assert "only the first 5 studies count; left out: 4" in out


def test_a_copy_under_another_name_is_noticed(root, run):
    shutil.copytree(root / "logs/one", root / "logs/onward")
    out = run()[1]
    assert "warning: the logs of onward are those of one; is it a copy?" in out


def test_two_frameworks_are_no_copies(root, run):
    for study in (root / "logs/one").iterdir():
        for folder in list(study.iterdir()):
            slower = SLOW.replace("30.0", "31.0")
            write_trial(
                study / folder.name.replace("jax", "pytorch") / "trial_1", slower
            )
    assert "is it a copy" not in run()[1]


def test_names_cannot_drive_the_terminal(root, run):
    (root / "logs/one").rename(root / "logs/o\x1b[31mne\nwarning: x")
    out = run()[1]
    assert "\x1b" not in out and "o?[31mne?warning: x" in out


def test_a_name_that_is_no_text_is_shown_with_backslashes(root, run):
    try:
        os.rename(bytes(root / "logs/one"), bytes(root / "logs") + b"/o\xff")
    except OSError:
        pytest.skip("this file system takes no such names")
    out = run()[1]
    assert "o\\udcff" in out


def test_a_current_folder_that_is_gone_is_one_sentence(root, monkeypatch, capsys):
    gone = root / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["score", "."]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_watch_takes_published_trials_for_ended(root, capsys):
    folder = root / "logs/one/study_1/alpha_jax/trial_1"
    (folder / "meta_data_0.json").write_text('{"gpu.count": 8}')
    assert cli.main(["watch", str(root / "logs"), "--once"]) == 0
    out = capsys.readouterr().out
    assert "4 no end recorded" in out and "running" not in out
