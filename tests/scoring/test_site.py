"""`algoperf site`: every link leads somewhere, nothing leaves it, wrong input is named."""

import dataclasses
import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from made_logs import SLOW, TARGETS, write_submission
from scoring_cases import hit_at, published_board, targets
from test_report_html import EVIL, Structure

from algoperf import cli
from algoperf.errors import BadSettings
from algoperf.logs import Outcome
from algoperf.scoring.leaderboard import score
from algoperf.scoring.site.boards import BoardFolder, find_boards, read_board
from algoperf.scoring.site.names import file_names
from algoperf.scoring.site.pages import Board, board_pages, index_page
from algoperf.scoring.site.write import write_site
from algoperf.verification_record import NEEDED, Check, Status, Verification

BOARD = 'title = "Board {name}"\nrules = "v0.5"\ntargets = "targets.json"\n'


def write_board(folder: Path, name: str = "one") -> Path:
    write_submission(folder / "first", studies=2)
    write_submission(folder / "second one", SLOW, studies=2)
    (folder / "targets.json").write_text(json.dumps(TARGETS))
    (folder / "board.toml").write_text(BOARD.format(name=name))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site of two boards, one of them with names that attack."""
    root = tmp_path_factory.mktemp("boards")
    write_board(root / "spring")
    write_board(root / "autumn & <b>", "<script>alert(1)</script>")
    (root / "spring" / "first" / "submission.toml").write_text(
        f'description = "{EVIL}"\n[links]\ncode = "https://example.org/\\"><b>"\n'
    )
    (root / "notes").mkdir()
    output = tmp_path_factory.mktemp("out") / "site"
    assert cli.main(["site", str(root), "-o", str(output), "--title", EVIL]) == 0
    return output


def pages_of(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def test_there_is_a_page_for_each_board_submission_and_workload(site: Path):
    names = {str(path.relative_to(site)) for path in pages_of(site)}
    assert names == {"index.html"} | {
        f"{board}/{page}.html"
        for board in ("spring", "autumn-b")
        for page in (
            "index",
            "submissions/first",
            "submissions/second-one",
            "workloads/alpha",
            "workloads/beta",
        )
    }
    assert json.loads((site / "spring/leaderboard.json").read_text())["submissions"]


def test_every_link_leads_to_a_page_or_to_a_place_in_it(site: Path):
    num_links = 0
    for path in pages_of(site):
        for anchor in Structure(path.read_text()).all("a"):
            target = anchor["href"] or ""
            if target.startswith("https://example.org/"):
                continue
            file, _, place = unquote(target).partition("#")
            other = (path.parent / file) if file else path
            assert other.is_file(), (path, target)
            if place:
                assert f'id="{place}"' in other.read_text(), (path, target)
            num_links += not place
    assert num_links > 40


def test_all_pages_can_be_reached_from_the_first(site: Path):
    reached, left = set(), [site / "index.html"]
    while left:
        path = left.pop().resolve()
        if path in reached:
            continue
        reached.add(path)
        for target in re.findall(r'<a href="([^"#:]+)"', path.read_text()):
            left.append(path.parent / target)
    assert reached == {path.resolve() for path in pages_of(site)}


def test_names_from_logs_and_files_are_only_text(site: Path):
    for path in pages_of(site):
        structure = Structure(path.read_text())
        run = [
            a for a in structure.all("script") if a.get("type") != "application/json"
        ]
        assert len(run) == 1 and not structure.all("img") and not structure.all("b" * 2)
        assert not any(n.startswith("on") for _, a in structure.tags for n in a)
    assert EVIL in Structure((site / "index.html").read_text()).text


def test_pages_do_not_tell_where_the_logs_lie(site: Path):
    record = json.loads((site / "site.json").read_text())
    for name in record["files"]:
        assert "boards0" not in (site / name).read_text()


def test_the_first_page_tells_rules_winners_and_days(site: Path):
    text = Structure((site / "index.html").read_text()).text
    assert "v0.5, self tuning" in text and "first" in text


def test_a_submission_s_page_tells_its_ranks():
    board = published_board()
    made = Board.of(BoardFolder(Path("x"), "T"), board, "algoperf report x")
    page = board_pages(made)["submissions/baseline.html"]
    assert ("rank", "2 of 6") in page.summary
    keys = [section.key for section in page.sections]
    assert keys == ["times", "outcomes", "trials", "cost", "machines"]
    (table,) = page.sections[0].tables()
    ranks = {row[0].text: row[2].text for row in table.rows}
    assert ranks["wmt"] == "1" and ranks["imagenet_resnet"] == "\N{EN DASH}"


def test_verification_marks_are_on_the_pages():
    target = {"metric": "accuracy", "better": "higher", "validation": 0.5, "test": None}
    found = [
        hit_at(
            "a",
            "w",
            5.0 + i,
            number=i,
            meta={"target": target},
            outcome=Outcome.REACHED,
        )
        for i in (1, 2, 3)
    ]
    checks = [Check(what, Status.VERIFIED) for what in NEEDED]
    found[0] = dataclasses.replace(found[0], verification=Verification(checks, ""))
    board = score(found, "v0.5", targets=targets("w"))
    made = Board.of(BoardFolder(Path("x"), "T"), board, "")
    (row,) = index_page("t", {"x": made}).sections[0].tables()[0].rows
    assert row[-1].text == "1 of 3"
    pages = board_pages(made)
    assert ("verified", "1 of 3") in pages["submissions/a.html"].summary
    (row,) = pages["index.html"].sections[0].tables()[0].rows
    assert "1 of 3" in [cell.text for cell in row]


def test_a_new_site_replaces_the_old_one_and_keeps_other_files(tmp_path: Path):
    write_site(tmp_path, {"index.html": "a", "old/x.html": "b"})
    (tmp_path / "CNAME").write_text("kept")
    assert write_site(tmp_path, {"index.html": "c"}) == ["old/x.html"]
    assert (tmp_path / "index.html").read_text() == "c"
    assert (tmp_path / "CNAME").read_text() == "kept"
    assert not (tmp_path / "old/x.html").exists()


@pytest.mark.parametrize(
    "listed", [["../outside.html", "/etc/x.html", "keep.txt"], "text", {"a": 1}, [1]]
)
def test_a_list_of_files_that_was_changed_removes_nothing_else(tmp_path, listed):
    outside = tmp_path / "outside.html"
    outside.write_text("x")
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "keep.txt").write_text("x")
    (folder / "site.json").write_text(json.dumps({"files": listed}))
    write_site(folder, {"index.html": "a"})
    assert outside.exists() and (folder / "keep.txt").exists()


def test_a_folder_with_other_files_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert cli.main(["site", str(tmp_path / "none"), "-o", str(tmp_path)]) == 2
    assert "is not empty and holds no site" in capsys.readouterr().err


def test_a_folder_without_board_files_is_one_board(tmp_path):
    write_submission(tmp_path / "logs" / "a")
    ((about,), notes) = find_boards(tmp_path / "logs")
    assert about.title == "logs" and notes == []


def test_folders_without_a_board_file_are_noted(tmp_path):
    write_board(tmp_path / "a")
    (tmp_path / "b").mkdir()
    boards, notes = find_boards(tmp_path)
    assert [about.folder.name for about in boards] == ["a"]
    assert "b has no board.toml" in notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule = 'v0.5'", "no entry 'rule'. Did you mean 'rules'"),
        ("rules = 'v9'", "'rules' must be one of paper, v0.5, v0.6, v1.0, not 'v9'"),
        ("tuning = 1", "'tuning' must be one of"),
        ("held_out = 'x'", "'held_out' must be a list of workloads"),
        ("studies = 0", "'studies' must be a whole number from 1, not 0"),
        ("studies = true", "'studies' must be a whole number"),
        ("title = 1", "'title' must be a text"),
        ("title", "is not readable TOML"),
    ],
)
def test_a_wrong_board_file_is_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / "board.toml").write_text(text)
    with pytest.raises(BadSettings, match=message) as found:
        read_board(tmp_path)
    assert str(tmp_path / "board.toml") in str(found.value)


def test_files_have_names_that_every_system_can_hold_and_no_two_are_equal():
    names = [
        "A",
        "a",
        "a b",
        "a-b",
        "../..",
        "",
        "CON",
        "index",
        "ü",
        "x" * 300,
        "x" * 301,
    ]
    found = file_names(names)
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,64}", name) for name in found)
    assert not {"con", "index"} & set(found)
