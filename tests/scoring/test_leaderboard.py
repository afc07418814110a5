"""The whole way from trials to a leaderboard, on published and on made-up logs."""

import json
import math
import random
import tarfile
from pathlib import Path

import pytest
from scoring_cases import (
    COMPAT,
    EXACT,
    PUBLISHED_TARGETS,
    hit_at,
    published_board,
    published_trials,
    targets,
    trial,
    unpack_published,
)

from algoperf import logs
from algoperf.definition import Target
from algoperf.errors import BadLogs, UnknownName
from algoperf.logs import Outcome, Trial
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.targets import ScoredWorkload, TargetSet

INF = math.inf
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def board() -> Leaderboard:
    return published_board()


@pytest.fixture
def published() -> list[Trial]:
    return published_trials()


def rounded(board: Leaderboard) -> dict[str, float]:
    return {name: round(value, 4) for name, value in board.scores.items()}


def two(**more) -> list[Trial]:
    return [hit_at("a", "w", 10, **more), hit_at("b", "w", 25)]


def test_published_scores_come_out_exactly(board: Leaderboard):
    assert rounded(board) == EXACT


def test_published_scores_come_out_as_published_with_compat(published: list[Trial]):
    assert (
        rounded(score(published, "v0.5", targets=PUBLISHED_TARGETS, compat=True))
        == COMPAT
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full published logs are not here")
@pytest.mark.parametrize(("compat", "expected"), [(False, EXACT), (True, COMPAT)])
def test_full_published_logs_score_as_published(
    tmp_path_factory: pytest.TempPathFactory, compat: bool, expected: dict[str, float]
):
    folder = tmp_path_factory.mktemp("full")
    with tarfile.open(SHARED / "published_v05_self_tuning_logs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    trials = logs.read(folder)
    file = SHARED / "published_v05_targets.json"
    assert rounded(score(trials, "v0.5", targets=file, compat=compat)) == expected


def test_order_of_trials_does_not_matter(published: list[Trial], board: Leaderboard):
    shuffled = published.copy()
    random.Random(0).shuffle(shuffled)
    again = score(shuffled, "v0.5", targets=PUBLISHED_TARGETS, reference="baseline")
    assert again.to_json() == board.to_json()


def test_order_of_rows_in_files_does_not_matter(tmp_path: Path, board: Leaderboard):
    folder = unpack_published(tmp_path)
    shuffle = random.Random(0).shuffle
    for path in folder.rglob("*.csv"):
        header, *rows = path.read_text().splitlines(keepends=True)
        shuffle(rows)
        path.write_text(header + "".join(rows))
    trials = logs.read(folder)
    assert score(trials, "v0.5", targets=PUBLISHED_TARGETS).scores == board.scores


def test_missing_workloads_and_studies_are_listed(board: Leaderboard):
    text = "\n".join(board.warnings)
    assert (
        "2 submissions (sinv6, sinv6_75): no evaluations, counted as misses, on "
        "criteo1tb, criteo1tb_embed_init"
    ) in text
    assert "adamg: fewer than 5 studies on librispeech_conformer_layernorm (4)" in text


def test_strict_makes_warnings_errors(published: list[Trial]):
    with pytest.raises(BadLogs, match="fewer than 5 studies"):
        score(published, "v0.5", targets=PUBLISHED_TARGETS, strict=True)


def test_v06_has_no_held_out_workloads(published: list[Trial]):
    board = score(published, "v0.6", targets=PUBLISHED_TARGETS)
    assert board.pool.held_out == ()
    assert board.pool.workloads["wmt"].budget_seconds == 1.5 * 48_151


def test_json_has_a_line_per_submission_and_null_for_misses(board: Leaderboard):
    content = json.loads(board.to_json(), parse_constant=pytest.fail)
    assert [line["submission"] for line in content["submissions"]] == list(EXACT)
    assert content["submissions"][0]["score"] == board.scores["schedule_free_adamw"]
    adamg = content["submissions"][-1]["workloads"]["wmt"]
    assert adamg == {"seconds": None, "steps": None, "performance_ratio": None}


def test_text_shows_scores_times_and_warnings(board: Leaderboard):
    for word in (
        "0.8539",
        "adamg",
        "wmt_glu_tanh (held out)",
        "warning: 2 submissions (sinv6, sinv6_75): no evaluations",
    ):
        assert word in board.text()


def test_equal_scores_share_a_rank():
    trials = [hit_at(name, "w", 10) for name in "ab"] + [hit_at("c", "w", 20)]
    board = score(trials, "v0.5", targets=targets("w"))
    assert [(e.submission, e.rank) for e in board.entries] == [
        ("a", 1),
        ("b", 1),
        ("c", 3),
    ]


def test_one_submission_alone_scores_one():
    assert score([hit_at("a", "w", 9)], "v0.5", targets=targets("w")).scores == {
        "a": 1.0
    }


def test_speedup_marks_misses():
    trials = [hit_at("a", "w", INF), hit_at("b", "w", 10)]
    board = score(trials, "v0.5", targets=targets("w", budget=99.0), reference="b")
    speedup = board.entry("a").speedup
    assert speedup is not None and speedup.misses == ("w",)
    assert math.isclose(speedup.factor, 0.1)


def test_an_unknown_reference_suggests_a_name():
    with pytest.raises(UnknownName, match="Did you mean 'adamw'"):
        score([hit_at("adamw", "w", 1)], "v0.5", targets=targets("w"), reference="adam")


def test_the_logs_own_targets_are_used_where_nothing_else_knows():
    record = {"metric": "accuracy", "better": "higher", "validation": 0.5, "test": 0.5}
    meta = {"target": record, "tier": "mini", "budget_seconds": 50.0}
    run = hit_at("a", "tiny", 10, meta=meta, outcome=Outcome.REACHED)
    board = score([run], "v0.5")
    assert board.scores == {"a": 1.0}
    assert board.pool.tier == "development"
    assert "DEVELOPMENT TIER" in board.text()


def test_different_targets_for_one_workload_are_an_error():
    trials = []
    for name, value in (("a", 0.5), ("b", 0.6)):
        record = {"metric": "accuracy", "better": "higher", "validation": value}
        trials.append(hit_at(name, "tiny", 10, meta={"target": record}))
    with pytest.raises(BadLogs, match="different targets"):
        score(trials, "v0.5")


def test_a_target_that_differs_from_the_scored_one_is_warned_about():
    record = {"metric": "accuracy", "better": "higher", "validation": 0.4, "test": 0.5}
    board = score(two(meta={"target": record}), "v0.5", targets=targets("w"))
    assert any("ran towards accuracy 0.4" in warning for warning in board.warnings)


def test_an_unknown_workload_is_an_error_that_names_the_folder():
    with pytest.raises(UnknownName, match=r"nonsense_jax.*--targets"):
        score([hit_at("a", "nonsense", 1)], "v0.5")


def test_development_and_full_workloads_are_never_mixed():
    target = Target("accuracy", 0.5, 0.5)
    known = TargetSet(
        {
            "w": ScoredWorkload("w", "w", target),
            "tiny": ScoredWorkload("tiny", "tiny", target, tier="development"),
        }
    )
    with pytest.raises(BadLogs, match="never scored together"):
        score([hit_at("a", "w", 1), hit_at("a", "tiny", 1)], "v0.5", targets=known)


def test_precisions_are_never_mixed():
    trials = [
        hit_at(name, "w", 1, meta={"precision": precision}, outcome=Outcome.REACHED)
        for name, precision in (("a", "float32"), ("b", "bf16"))
    ]
    with pytest.raises(BadLogs, match="bf16"):
        score(trials, "v0.5", targets=targets("w"))


def test_partial_data_is_never_scored():
    with pytest.raises(BadLogs, match="partial"):
        score(two(meta={"partial_data": True}), "v0.5", targets=targets("w"))


def test_different_hardware_is_warned_about():
    trials = [
        hit_at(name, "w", 1, meta={"host": {"cpu": cpu, "cores": 2}})
        for name, cpu in (("a", "fast"), ("b", "slow"))
    ]
    board = score(trials, "v0.5", targets=targets("w"))
    words = "different hardware are compared: fast (2 cores) (1 trials); slow (2 cores)"
    assert any(words in warning for warning in board.warnings)


@pytest.mark.parametrize(
    ("found", "words"),
    [(("paper", "paper"), "ran under ruleset paper"), (("paper", "v0.6"), "different")],
)
def test_other_rulesets_are_warned_about(found: tuple[str, str], words: str):
    trials = [
        hit_at(name, "w", 1, meta={"ruleset": rules}, outcome=Outcome.REACHED)
        for name, rules in zip("ab", found, strict=True)
    ]
    board = score(trials, "v0.5", targets=targets("w"))
    assert any(words in warning for warning in board.warnings)


def test_mixed_tuning_rulesets_are_an_error():
    trials = [
        hit_at(name, "w", 1, meta={"tuning_ruleset": tuning})
        for name, tuning in (("a", "self"), ("b", "external"))
    ]
    with pytest.raises(BadLogs, match="mix tuning rulesets"):
        score(trials, "v0.5", targets=targets("w"))


def test_two_frameworks_of_a_submission_are_two_entries():
    trials = [
        hit_at("a", "w", t, framework=f) for t, f in ((10, "jax"), (20, "pytorch"))
    ]
    board = score(trials, "v0.5", targets=targets("w"))
    assert list(board.scores) == ["a (jax)", "a (pytorch)"]


def test_several_variants_of_a_base_must_be_chosen_from():
    known = targets("w", held_out=["w_x", "w_y"])
    trials = [hit_at("a", name, 10) for name in ("w", "w_x", "w_y")]
    with pytest.raises(BadLogs, match="--held-out"):
        score(trials, "v0.5", targets=known)
    board = score(trials, "v0.5", targets=known, held_out=["w_x"])
    assert board.pool.held_out == ("w_x",)
    assert any("w_y" in note for note in board.pool.notes)


def test_outcomes_are_counted_from_the_record_or_the_evaluations():
    trials = [
        hit_at("a", "w", 10, number=1),
        hit_at("a", "w", INF, number=2),
        trial("a", "w", [(1, 0.1), (2, math.nan)], number=3),
        hit_at("a", "w", 10, number=4, outcome=Outcome.SUBMISSION_CRASHED),
        hit_at("a", "w", 10, number=5, meta={"ruleset": "v0.5"}),
    ]
    entry = score(trials, "v0.5", targets=targets("w")).entry("a")
    counts = {name: count for name, count in entry.outcomes.items() if count}
    assert counts == {
        "reached": 1,
        "not reached": 1,
        "diverged": 1,
        "crashed in the submission": 1,
        "unfinished": 1,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "'workloads'"),
        ('{"workloads": {"w": 1}}', "must be an object"),
        ('{"workloads": {"w": {}}}', "target_metric_name"),
        ('{"workloads": {"w": {"target_metric_name": "fid"}}}', "'better'"),
        (
            '{"workloads": {"w": {"target_metric_name": "wer", '
            '"validation_target_value": "x"}}}',
            "finite number",
        ),
        (
            '{"base_workloads": ["v"], "workloads": {"w": {"target_metric_name": "wer", '
            '"validation_target_value": 1}}}',
            "lists 'v'",
        ),
    ],
)
def test_a_wrong_targets_file_is_reported(tmp_path: Path, content: str, words: str):
    file = tmp_path / "targets.json"
    file.write_text(content)
    with pytest.raises(BadLogs, match=words):
        score([hit_at("a", "w", 1)], "v0.5", targets=file)


def test_a_missing_targets_file_is_reported(tmp_path: Path):
    with pytest.raises(BadLogs, match="cannot be read"):
        score([hit_at("a", "w", 1)], "v0.5", targets=tmp_path / "none.json")
