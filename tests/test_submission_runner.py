"""The published flags: all are accepted, and none is passed over without a word."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from algoperf import cli
from algoperf.campaign import single
from algoperf.runner import door, experiment

RUNNER = Path(__file__).parents[1] / "submission_runner.py"
# Every flag of the published logs, at a published value.
PUBLISHED = {
    "?": False,
    "alsologtostderr": False,
    "append_timestamp": False,
    "capture_jax_trace": False,
    "chex_assert_multiple_cpu_devices": False,
    "chex_n_cpu_devices": 1,
    "chex_skip_pmap_variant_if_single_device": True,
    "data_dir": "/data/librispeech",
    "delta_threshold": 0.5,
    "experiment_dir": "/experiment_runs",
    "experiment_name": "submissions_a100/lion/study_1",
    "experimental_orbax_use_distributed_barrier": False,
    "experimental_orbax_use_distributed_process_id": False,
    "framework": "pytorch",
    "hbm_oom_exit": True,
    "help": False,
    "helpfull": False,
    "helpshort": False,
    "helpxml": False,
    "hparam_end_index": None,
    "hparam_start_index": None,
    "imagenet_v2_data_dir": "~/data",
    "librispeech_tokenizer_vocab_path": "/data/librispeech/spm_model.vocab",
    "log_dir": "",
    "logger_levels": None,
    "logtostderr": False,
    "max_global_steps": 399999,
    "num_tuning_trials": 1,
    "only_check_args": False,
    "op_conversion_fallback_to_while_loop": True,
    "overwrite": True,
    "pdb": False,
    "pdb_post_mortem": False,
    "profile": False,
    "profile_file": None,
    "profile_log_times": False,
    "pytorch_eval_num_workers": 4,
    "resume_last_run": None,
    "rng_seed": 3893546236,
    "run_with_pdb": False,
    "run_with_profiling": False,
    "runtime_oom_exit": True,
    "save_checkpoints": False,
    "save_intermediate_checkpoints": True,
    "set_pytorch_max_split_size": False,
    "showprefixforinfo": True,
    "skip_evals": False,
    "stderrthreshold": "fatal",
    "submission_path": "submissions/submission.py",
    "test_random_seed": 301,
    "test_randomize_ordering_seed": "",
    "test_srcdir": "",
    "test_tmpdir": "/tmp/absl_testing",
    "tfds_debug_list_dir": False,
    "tfhub_cache_dir": None,
    "tfhub_model_load_format": "AUTO",
    "torch_compile": True,
    "tt_check_filter": False,
    "tt_single_core_summaries": False,
    "tuning_ruleset": "self",
    "tuning_search_space": None,
    "use_cprofile_for_profiling": True,
    "use_wandb": False,
    "v": 0,
    "verbosity": 0,
    "workload": "librispeech_conformer",
    "xml_output_file": "",
}
# Says what a command line became, in a process of its own: absl's flags are the process's.
TELL = f"""
import sys
sys.path.insert(0, {str(RUNNER.parent)!r})
import json, os
import submission_runner as runner
from absl import app
from algoperf.runner import door, experiment
door.check_before_start = lambda settings: None
def run(settings, say, **_):
    values = settings.as_json()
    values["split size"] = os.environ.get("PYTORCH_CUDA_ALLOC_CONF")
    print(json.dumps(values))
    say("Go on with --resume.")
    return True
experiment.run = run
sys.exit(runner.main())
"""


def start(*words, code=None, **environment) -> subprocess.CompletedProcess:
    program = [RUNNER] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *map(str, [*program, *words])],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def told(*words, **environment) -> tuple[dict, str]:
    """The settings that a command line makes, and what was said on stderr."""
    needed = ("framework", "workload", "submission_path", "tuning_ruleset")
    given = {word.partition("=")[0].lstrip("-") for word in words}
    words += tuple(f"--{n}={PUBLISHED[n]}" for n in needed if n not in given)
    result = start(*words, code=TELL, **environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[0]), result.stderr


def test_every_published_flag_is_accepted_at_its_published_value():
    words = [f"--{k}={v}" for k, v in PUBLISHED.items() if v is not None]
    settings, err = told(*words)
    assert settings["seed"] == 3893546236
    assert settings["on_existing"] == "overwrite"
    assert settings["save_checkpoints"] is False
    assert settings["torch_compile"] is True
    without_effect = {line.split()[1] for line in err.splitlines()}
    assert without_effect == {
        "--imagenet_v2_data_dir",
        "--librispeech_tokenizer_vocab_path",
        "--pytorch_eval_num_workers",
        "--save_intermediate_checkpoints",
    }
    assert err.count("--imagenet_v2_data_dir has no effect: ") == 1


def test_the_archive_of_published_logs_has_no_other_flag():
    fixture = Path(__file__).parent / "scoring" / "fixtures"
    found = list(fixture.rglob("flags_*.json"))
    if not found:
        pytest.skip("the fixture of published logs has no flags")
    for path in found:
        assert json.loads(path.read_text()).keys() <= PUBLISHED.keys()


def test_flags_that_ask_for_nothing_are_silent():
    assert told("--use_wandb=false", "--noprofile", "--skip_evals=false")[1] == ""


def test_flags_without_effect_say_so_and_what_to_do():
    _, err = told("--profile", "--capture_jax_trace", "--hbm_oom_exit=0")
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(" has no effect: " in line for line in lines)
    assert "`algoperf run --profile DIR` profiles" in lines[0]


def test_only_the_first_process_gives_notices():
    ranks = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    assert told("--use_wandb", **ranks)[1] == ""


def test_published_names_may_be_paths_that_end_in_a_study():
    settings, _ = told("--experiment_dir=/runs", "--experiment_name=a100/lion/study_2")
    assert settings["experiment_dir"] == "/runs/a100"
    assert (settings["experiment_name"], settings["first_study"]) == ("lion", 2)


def test_a_timestamp_is_appended_once_for_all_processes():
    ranks = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    first, second = (
        told("--append_timestamp", "--experiment_name=lion", RANK=rank, **ranks)[0]
        for rank in "01"
    )
    assert first["experiment_name"] == second["experiment_name"]
    assert first["experiment_name"].startswith("lion_20")


def test_the_split_size_reaches_the_trial_unless_it_is_set(monkeypatch):
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert told()[0]["split size"] is None
    given = told("--set_pytorch_max_split_size")[0]["split size"]
    assert given == "max_split_size_mb:256"
    own = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    given = told("--set_pytorch_max_split_size", **own)[0]["split size"]
    assert given == "expandable_segments:True"


def test_home_and_variables_are_expanded_in_every_path(tmp_path):
    settings, _ = told(
        "--experiment_dir=~/e",
        "--data_dir=$PLACE/d",
        "--submission_path=~/mine/s.py",
        "--tuning_ruleset=external",
        "--tuning_search_space=${PLACE}/t.json",
        HOME="/home/me",
        PLACE="/mnt",
    )
    assert settings["experiment_dir"] == "/home/me/e"
    assert settings["data_dir"] == "/mnt/d"
    assert settings["submission_path"] == "/home/me/mine/s.py"
    assert settings["search_space"] == "/mnt/t.json"
    assert settings["experiment_name"] == "mine"


def test_both_command_lines_make_the_same_settings(tmp_path, monkeypatch):
    (tmp_path / "s.py").touch()
    (tmp_path / "t.json").touch()
    made = []
    monkeypatch.setattr(door, "check_before_start", lambda settings: None)
    monkeypatch.setattr(experiment, "run", lambda s: made.append(s.as_json()) or True)
    monkeypatch.setattr(
        single, "run", lambda all_, **_: made.extend(s.as_json() for s in all_) or True
    )
    monkeypatch.chdir(tmp_path)
    words = "run s.py --framework pytorch --workload ogbg_mini --search-space t.json "
    words += "--tuning-ruleset external --trials 7 --studies 2 --ruleset v0.6 --seed 5 "
    words += (
        "--first-trial 3 --last-trial 5 --max-steps 9 --experiment-dir e --overwrite "
    )
    words += "--experiment-name n --data-dir d --precision bf16 --torch-compile "
    words += "--no-checkpoints --allow-partial-data --tensorboard --log-to wandb"
    assert cli.main(words.split()) == 0
    settings, _ = told(
        *("--framework=pytorch", "--workload=ogbg_mini", "--submission_path=s.py"),
        *("--tuning_search_space=t.json", "--tuning_ruleset=external"),
        *("--num_tuning_trials=7", "--num_studies=2", "--ruleset=v0.6", "--rng_seed=5"),
        *("--hparam_start_index=2", "--hparam_end_index=5", "--max_global_steps=9"),
        *("--experiment_dir=e", "--experiment_name=n", "--data_dir=d", "--overwrite"),
        *("--precision=bf16", "--torch_compile", "--nosave_checkpoints"),
        *("--allow_partial_data", "--tensorboard", "--use_wandb"),
    )
    del settings["split size"]
    assert settings == made[0]


def test_a_library_that_is_imported_later_defines_its_flag_itself():
    code = (
        "import submission_runner; from absl import flags; "
        "flags.DEFINE_integer('chex_n_cpu_devices', 1, 'Of chex.'); "
        "print(flags.FLAGS['chex_n_cpu_devices'].help)"
    )
    result = start(code=code, PYTHONPATH=str(RUNNER.parent))
    assert result.stdout == "Of chex.\n", result.stderr


def test_messages_speak_of_the_published_flags():
    code = (
        "import submission_runner as r; "
        "print(r.in_published_words('--trials, --tuning-ruleset self, --experiment-name, "
        "--num-processes, `algoperf prepare x --data-dir y`'))"
    )
    result = start(code=code, PYTHONPATH=str(RUNNER.parent))
    assert result.stdout == (
        "--num_tuning_trials, --tuning_ruleset self, --experiment_name, "
        "--num-processes, `algoperf prepare x --data-dir y`\n"
    )


GOOD = ["--framework=jax", "--workload=mnist_mini", "--tuning_ruleset=self"]
WRONG_INPUT = {  # what is wrong: (words, what the message must say)
    "nothing": ([], "The flag --framework is required"),
    "a word": (["--overwrite", "false"], "after an equals sign: --overwrite=false"),
    "another word": (["now"], "now is no flag. Write flags as --name=value"),
    "a word after --": (["--", "--overwrite"], "--overwrite is no flag"),
    "unknown": (["--frmework=jax"], "no flag 'frmework'. Did you mean 'framework'?"),
    "other spelling": (
        ["--data-dir=x"],
        "no flag 'data-dir'. Did you mean 'data_dir'?",
    ),
    "no value": (["--workload"], "Missing value for flag --workload"),
    "a choice": (["--framework=jaxx"], "one of <jax|pytorch>"),
    "a truth": (
        ["--overwrite=maybe"],
        "--overwrite is maybe; it must be true or false",
    ),
    "a number": (["--rng_seed=x"], "--rng_seed is x; it must be a number"),
    "a float": (["--delta_threshold=x"], "--delta_threshold is x; it must be a number"),
    "a count": ([*GOOD, "--num_tuning_trials=0"], "--num_tuning_trials is 0"),
    "many": ([*GOOD, f"--num_studies={10**20}"], f"--num_studies is {10**20}"),
    "a seed": ([*GOOD, "--rng_seed=-5"], "--rng_seed is -5"),
    "an index": (["--hparam_start_index=-1"], "non-negative"),
    "twice": ([*GOOD, "--workload=mnist"], "--workload is given more than once"),
    "no evaluations": (
        [*GOOD, "--skip_evals"],
        "without evaluations a run has no score",
    ),
    "a flag file": (["--flagfile=/no/such"], "No such file"),
    "workload": ([*GOOD[::2], "--workload=mnist_mimi"], "Did you mean 'mnist_mini'?"),
    "external": ([*GOOD[:2]], "JSON file with --tuning_search_space"),
    "an empty path": ([*GOOD, "--experiment_dir="], "The path is empty"),
    "a variable": ([*GOOD, "--data_dir=$UNSET_DISK"], "$UNSET_DISK is not set"),
    "a name": ([*GOOD, "--experiment_name=../x"], "names below --experiment_dir"),
    "a root": ([*GOOD, "--experiment_name=/x/y"], "names below --experiment_dir"),
    "study 0": ([*GOOD, "--experiment_name=x/study_0"], "counted from 1"),
    "no new name": (
        [*GOOD, "--append_timestamp", "--resume_last_run"],
        "--append_timestamp makes a new name",
    ),
}


@pytest.mark.parametrize(("words", "said"), WRONG_INPUT.values(), ids=WRONG_INPUT)
def test_wrong_input_is_one_sentence_and_status_2(words, said, tmp_path):
    submission = tmp_path / "submission.py"
    submission.touch()
    if set(GOOD[:1]) <= set(words):
        words = [*words, f"--submission_path={submission}"]
    result = start(*words)
    assert result.returncode == 2
    assert result.stderr.startswith("submission_runner: error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [submission]


def test_what_is_said_about_trials_speaks_of_the_published_flags():
    words = [f"--{n}={PUBLISHED[n]}" for n in ("framework", "workload")]
    words += ["--submission_path=s.py", "--tuning_ruleset=self"]
    result = start(*words, code=TELL)
    assert result.stdout.splitlines()[1] == "Go on with --resume_last_run."
