"""The published runner's command line: its flags make the same settings as `algoperf run`.

`python submission_runner.py --framework=jax --workload=mnist_mini --submission_path=… …`; under
`torchrun` every process runs this file.
"""

import datetime
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
from absl import app, flags

from algoperf import console, exit_status, paths
from algoperf.campaign import run_progress
from algoperf.errors import BadSettings, near
from algoperf.frameworks import FRAMEWORKS
from algoperf.procedures import calibration
from algoperf.rulesets import DEFAULT_RULESET, RULESETS, TUNING_RULESETS
from algoperf.runner import experiment
from algoperf.runner.settings import (
    PRECISIONS,
    OnExisting,
    Settings,
    default_data_dir,
    default_experiment_name,
)

_FLAGS = flags.FLAGS
_FLAGS_OF_ABSL = frozenset(_FLAGS)  # some are two names of one flag
_PROGRAM = "submission_runner"
_REQUIRED = ("framework", "workload", "submission_path")

flags.DEFINE_enum("framework", None, list(FRAMEWORKS), "Framework of the submission.")
flags.DEFINE_string("workload", None, "Workload to train; `algoperf list` shows all.")
flags.DEFINE_string("submission_path", None, "Python file of the submission.")
flags.DEFINE_enum(
    "tuning_ruleset", "external", list(TUNING_RULESETS), "External or self-tuning."
)
flags.DEFINE_string(
    "tuning_search_space", None, "JSON file of the search space, for external tuning."
)
flags.DEFINE_integer(
    "num_tuning_trials",
    None,
    "Number of tuning trials per study; default: the ruleset's.",
)
flags.DEFINE_integer("num_studies", 1, "Number of studies.")
flags.DEFINE_enum("ruleset", DEFAULT_RULESET, list(RULESETS), "Rules to run under.")
flags.DEFINE_string("data_dir", None, "Directory containing prepared data.")
flags.DEFINE_string("experiment_dir", "experiments", "Directory to write logs to.")
flags.DEFINE_string(
    "experiment_name",
    None,
    "Name of the submission in the logs; default: the name of its directory. A path, such "
    "as `2026/mine/study_2`, also names directories above it and the study.",
)
flags.DEFINE_bool("append_timestamp", False, "Append date and time to the name.")
flags.DEFINE_integer("max_global_steps", None, "End each trial after so many steps.")
flags.DEFINE_integer(
    "hparam_start_index", None, "First trial to run, counted from 0.", lower_bound=0
)
flags.DEFINE_integer("hparam_end_index", None, "Trial to stop before, counted from 0.")
flags.DEFINE_integer("rng_seed", 0, "Seed that the seeds of all trials derive from.")
flags.DEFINE_bool("overwrite", False, "Delete existing trials and run them again.")
flags.DEFINE_bool("resume_last_run", False, "Resume unfinished trials.")
flags.DEFINE_bool("save_checkpoints", True, "Save checkpoints at evaluations.")
flags.DEFINE_bool("torch_compile", False, "Compile PyTorch models.")
flags.DEFINE_enum("precision", "float32", list(PRECISIONS), "Compute precision.")
flags.DEFINE_bool("allow_partial_data", False, "Accept data prepared with --subset.")
flags.DEFINE_bool("tensorboard", False, "Also write TensorBoard event files.")
flags.DEFINE_bool("use_wandb", False, "Also log to Weights & Biases.")
flags.DEFINE_string(
    "calibrate", None, "File to compare the speed of this machine with first."
)
flags.DEFINE_bool(
    "skip_evals", False, "Refused: a run without evaluations has no score."
)
flags.DEFINE_bool(
    "set_pytorch_max_split_size",
    False,
    "Limit the blocks that PyTorch's CUDA allocator splits to 256 MiB.",
)

_SPLIT_SIZE = ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:256")
_WITHOUT_EFFECT: Mapping[str, tuple[bool | int | str | None, str]] = {
    # flag: (the value that asks for nothing, what happens instead)
    "imagenet_v2_data_dir": (
        None,
        "`algoperf prepare imagenet` puts ImageNet-v2 beside the other splits in --data_dir",
    ),
    "librispeech_tokenizer_vocab_path": (
        "",
        "`algoperf prepare librispeech` puts the tokenizer beside the data in --data_dir",
    ),
    "profile": (
        False,
        "`algoperf run --profile DIR` profiles; meta_data_0.json and outcome.json say where "
        "time went",
    ),
    "capture_jax_trace": (False, "`algoperf run --profile DIR` captures a trace"),
    "save_intermediate_checkpoints": (
        False,
        "the latest checkpoints are kept, and older ones are removed",
    ),
    "pytorch_eval_num_workers": (
        0,
        "both frameworks evaluate from the same input pipeline, which has no such workers",
    ),
}
# Flags of libraries, which stand in the published logs too: each at its published value.
_LIBRARY_FLAGS: Mapping[str, bool | int | float | str | None] = {
    "chex_assert_multiple_cpu_devices": False,
    "chex_n_cpu_devices": 1,
    "chex_skip_pmap_variant_if_single_device": True,
    "delta_threshold": 0.5,
    "experimental_orbax_use_distributed_barrier": False,
    "experimental_orbax_use_distributed_process_id": False,
    "hbm_oom_exit": True,
    "op_conversion_fallback_to_while_loop": True,
    "profile_log_times": False,
    "runtime_oom_exit": True,
    "test_random_seed": 301,
    "test_randomize_ordering_seed": "",
    "test_srcdir": "",
    "test_tmpdir": "/tmp/absl_testing",
    "tfds_debug_list_dir": False,
    "tfhub_cache_dir": None,
    "tfhub_model_load_format": "AUTO",
    "tt_check_filter": False,
    "tt_single_core_summaries": False,
    "xml_output_file": "",
}
_UNUSED_LIBRARY = "it belongs to a library that the runner does not use"
# Messages of the harness name the options of `algoperf run`.
_PUBLISHED_NAMES = {
    "--trials": "--num_tuning_trials",
    "--studies": "--num_studies",
    "--last-trial": "--hparam_end_index",
    "--max-steps": "--max_global_steps",
    "--seed": "--rng_seed",
    "--resume": "--resume_last_run",
    "--search-space": "--tuning_search_space",
}
_OPTION = re.compile(r"`algoperf [^`]*`|--[a-z]+(?:-[a-z]+)*")
_BOOLEAN_WORDS = ("true", "false", "t", "f", "yes", "no", "y", "n", "1", "0")


def _define_without_effect(name: str, default: object, help_text: str) -> None:
    # The library may be imported by a submission, and then defines its flag itself.
    define: dict[type, Callable[..., object]] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
    }
    kind = define.get(type(default), flags.DEFINE_string)
    kind(name, default, f"Without effect: {help_text}.", allow_override=True)


for _name, (_default, _help) in _WITHOUT_EFFECT.items():
    _define_without_effect(_name, _default, _help)
for _name, _value in _LIBRARY_FLAGS.items():
    if _name not in _FLAGS:
        _define_without_effect(_name, _value, _UNUSED_LIBRARY)
_OWN_FLAGS = frozenset(_FLAGS) - _FLAGS_OF_ABSL


def in_published_words(text: str) -> str:
    """A message with the options of `algoperf run` replaced by the flags of this program."""

    def flag(match: re.Match[str]) -> str:
        option = match[0]
        if option.startswith("`"):  # a command of `algoperf` keeps its own options
            return option
        name = _PUBLISHED_NAMES.get(option, f"--{option[2:].replace('-', '_')}")
        return name if name[2:] in _FLAGS else option

    return _OPTION.sub(flag, text)


def parse(arguments: list[str]) -> list[str]:
    """Sets the flags; raises `BadSettings` for all that is no flag of this program."""
    try:
        words = _FLAGS(arguments)[1:]
    except flags.Error as error:
        raise BadSettings(_flag_problem(str(error))) from None
    if words:
        raise BadSettings(_word_problem(words[0], arguments))
    repeated = sorted(name for name in _OWN_FLAGS if _FLAGS[name].present > 1)
    if repeated:
        raise BadSettings(
            f"--{repeated[0]} is given more than once; it takes one value."
        )
    missing = [name for name in _REQUIRED if not _FLAGS[name].value]
    if missing:
        raise BadSettings(
            f"The flag --{missing[0]} is required. `--helpshort ` lists all flags."
        )
    return arguments[:1]


def _flag_problem(problem: str) -> str:
    """absl's message as a sentence; with the nearest flag where one is unknown."""
    wrong = re.match(r"flag (--\w+)=(.*?): .*(Non-boolean|int\(\)|float)", problem)
    if wrong:
        value = paths.shown(wrong[2])
        right = "true or false" if wrong[3] == "Non-boolean" else "a number"
        return f"{wrong[1]} is {value}; it must be {right}."
    unknown = re.match(r"Unknown command line flag '([^']*)'", problem)
    if unknown is None:
        return f"{problem.rstrip('.')}."
    hint = near(unknown[1].replace("-", "_"), list(_FLAGS))
    return (
        f"There is no flag {unknown[1]!r}.{hint} `python submission_runner.py "
        "--helpshort` lists all flags."
    )


def _word_problem(word: str, arguments: list[str]) -> str:
    """What is wrong with a word that is no flag."""
    before = arguments[arguments.index(word) - 1].lstrip("-")
    if before in _FLAGS and _FLAGS[before].boolean and word.lower() in _BOOLEAN_WORDS:
        return (
            f"{word!r} is no flag. A flag that is true or false takes its value after an "
            f"equals sign: --{before}={word}."
        )
    return f"{paths.shown(word)} is no flag. Write flags as --name=value."


def notices() -> list[str]:
    """A sentence for each flag that was given and does nothing."""
    found = []
    for name, (nothing, instead) in _WITHOUT_EFFECT.items():
        if _FLAGS[name].present and _FLAGS[name].value != nothing:
            found.append(f"--{name} has no effect: {instead}.")
    for name, value in _LIBRARY_FLAGS.items():
        if _FLAGS[name].present and _FLAGS[name].value != value:
            found.append(f"--{name} has no effect: {_UNUSED_LIBRARY}.")
    if _FLAGS.overwrite and _FLAGS.resume_last_run:
        found.append(
            "--overwrite has no effect: --resume_last_run keeps finished trials."
        )
    return found


def settings_from_flags() -> Settings:
    """The same value that `algoperf run` makes of its arguments."""
    submission = paths.expanded(_FLAGS.submission_path)
    start = _FLAGS.hparam_start_index
    on_existing: OnExisting = "overwrite" if _FLAGS.overwrite else "refuse"
    folder, name, study = _place(submission)
    return Settings(
        submission_path=submission,
        framework=_FLAGS.framework,
        workload=_FLAGS.workload,
        experiment_dir=folder,
        experiment_name=name,
        data_dir=_path("data_dir") or default_data_dir(),
        ruleset=_FLAGS.ruleset,
        tuning=_FLAGS.tuning_ruleset,
        search_space=_path("tuning_search_space"),
        num_trials=_FLAGS.num_tuning_trials,
        num_studies=_FLAGS.num_studies,
        first_study=study,
        first_trial=1 if start is None else start + 1,
        last_trial=_FLAGS.hparam_end_index,
        seed=_FLAGS.rng_seed,
        max_global_steps=_FLAGS.max_global_steps,
        on_existing="resume" if _FLAGS.resume_last_run else on_existing,
        save_checkpoints=_FLAGS.save_checkpoints,
        precision=_FLAGS.precision,
        torch_compile=_FLAGS.torch_compile,
        allow_partial_data=_FLAGS.allow_partial_data,
        log_to=_loggers(),
    )


def _loggers() -> tuple[str, ...]:
    given = {"tensorboard": _FLAGS.tensorboard, "wandb": _FLAGS.use_wandb}
    return tuple(name for name, is_given in given.items() if is_given)


def _path(name: str) -> Path | None:
    """The path in a flag; None where it was not given, or is empty as in published scripts."""
    value: str | None = _FLAGS[name].value
    return paths.expanded(value) if value else None


def _place(submission: Path) -> tuple[Path, str, int]:
    """Directory of the logs, name of the submission, and first study.

    Published names may be paths that end in a study: `2026/mine/study_2`.
    """
    folder = paths.expanded(_FLAGS.experiment_dir)
    given = _FLAGS.experiment_name or default_experiment_name(submission)
    *above, name = given.rstrip("/").split("/")
    study = re.fullmatch(r"study_(\d{1,6})", name) if above else None
    if study:
        *above, name = above
        if int(study[1]) < 1:
            raise BadSettings(
                f"--experiment_name {given} names study {study[1]}; studies are counted "
                "from 1."
            )
    if any(part == "" or part[0] in ".~" for part in above):
        raise BadSettings(
            f"--experiment_name is {paths.shown(given)}; it must be a name, or a path of "
            "names below --experiment_dir."
        )
    if _FLAGS.append_timestamp:
        if _FLAGS.resume_last_run:
            raise BadSettings(
                "--append_timestamp makes a new name, so that --resume_last_run finds "
                "nothing to resume. Leave one of them out."
            )
        name += f"_{_started():%Y-%m-%d_%H-%M-%S}"
    return folder.joinpath(*above), name, int(study[1]) if study else 1


def _started() -> datetime.datetime:
    """When this run began; under torchrun the same for all its processes: its own beginning."""
    is_worker = "TORCHELASTIC_RUN_ID" in os.environ
    process = psutil.Process(os.getppid() if is_worker else None)
    return datetime.datetime.fromtimestamp(process.create_time())


def execute() -> int:
    """Runs the trials; the exit status."""
    if _FLAGS.skip_evals:
        raise BadSettings(
            "--skip_evals is not supported: without evaluations a run has no score. For a "
            "quick look leave it out and give --max_global_steps."
        )
    settings = settings_from_flags()
    if _is_first_process():
        for notice in notices():
            console.tell(f"{_PROGRAM}: {notice}")
    if _FLAGS.set_pytorch_max_split_size:
        os.environ.setdefault(*_SPLIT_SIZE)
    reference = _path("calibrate")
    if reference is not None:
        calibration.check(settings, reference)
    is_good = experiment.run(
        settings,
        lambda text: print(in_published_words(text)),
        observe=run_progress.progress_of,
    )
    return exit_status.OK if is_good else exit_status.FAILED


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def main() -> int:
    """Parses the flags and runs the trials: 0 good, 1 a trial failed, 2 wrong input."""

    def work() -> int:
        app.run(lambda _: execute(), flags_parser=parse)  # exits with the status
        return exit_status.OK

    return console.run(_PROGRAM, work, in_published_words)


if __name__ == "__main__":
    sys.exit(main())
