"""The published runner's command line: its flags make the same settings as `algoperf run`.

`python submission_runner.py --framework=jax --workload=mnist_mini --submission_path=… …`; under
`torchrun` every process runs this file.
"""

import sys
from pathlib import Path

from absl import app, flags

from algoperf import exit_status
from algoperf.errors import AlgoPerfError
from algoperf.procedures import calibration
from algoperf.runner import experiment
from algoperf.runner.settings import OnExisting, Settings, default_data_dir

_FLAGS = flags.FLAGS

flags.DEFINE_enum("framework", None, ["jax", "pytorch"], "Framework of the submission.")
flags.DEFINE_string(
    "workload", None, "Name of the workload; `algoperf list` shows all."
)
flags.DEFINE_string("submission_path", None, "Python file of the submission.")
flags.DEFINE_enum("tuning_ruleset", "external", ["external", "self"], "Who tunes.")
flags.DEFINE_string("tuning_search_space", None, "JSON file; for external tuning.")
flags.DEFINE_integer(
    "num_tuning_trials", None, "Trials of a study; default: the ruleset's."
)
flags.DEFINE_integer("num_studies", 1, "Studies to run.")
flags.DEFINE_enum("ruleset", "paper", ["paper", "v0.5", "v0.6"], "Rules to run under.")
flags.DEFINE_string("data_dir", None, "Folder of prepared data.")
flags.DEFINE_string("experiment_dir", "experiments", "Folder that logs go to.")
flags.DEFINE_string("experiment_name", None, "Name of the submission in the logs.")
flags.DEFINE_integer("max_global_steps", None, "End each trial after so many steps.")
flags.DEFINE_integer("hparam_start_index", None, "First trial, counted from 0.")
flags.DEFINE_integer("hparam_end_index", None, "Trial to stop before, counted from 0.")
flags.DEFINE_integer("rng_seed", 0, "Seed of the campaign.")
flags.DEFINE_bool("overwrite", False, "Replace trials that exist.")
flags.DEFINE_bool("resume_last_run", False, "Go on with unfinished trials.")
flags.DEFINE_bool("save_checkpoints", True, "Save a checkpoint at every evaluation.")
flags.DEFINE_bool("torch_compile", False, "Compile PyTorch models.")
flags.DEFINE_enum("precision", "float32", ["float32", "bf16"], "Compute precision.")
flags.DEFINE_bool("allow_partial_data", False, "Accept data made with --subset.")
flags.DEFINE_bool("tensorboard", False, "Also write TensorBoard events.")
flags.DEFINE_string(
    "calibrate", None, "Compare this machine's speed with this file's first."
)
flags.mark_flags_as_required(["framework", "workload", "submission_path"])


def settings_from_flags() -> Settings:
    """The same value that `algoperf run` makes of its arguments."""
    submission = Path(_FLAGS.submission_path)
    space = _FLAGS.tuning_search_space
    start = _FLAGS.hparam_start_index
    on_existing: OnExisting = "overwrite" if _FLAGS.overwrite else "refuse"
    return Settings(
        submission_path=submission,
        framework=_FLAGS.framework,
        workload=_FLAGS.workload,
        experiment_dir=Path(_FLAGS.experiment_dir),
        experiment_name=_FLAGS.experiment_name or submission.resolve().parent.name,
        data_dir=Path(_FLAGS.data_dir) if _FLAGS.data_dir else default_data_dir(),
        ruleset=_FLAGS.ruleset,
        tuning=_FLAGS.tuning_ruleset,
        search_space=Path(space) if space else None,
        num_trials=_FLAGS.num_tuning_trials,
        num_studies=_FLAGS.num_studies,
        first_trial=1 if start is None else start + 1,
        last_trial=_FLAGS.hparam_end_index,
        seed=_FLAGS.rng_seed,
        max_global_steps=_FLAGS.max_global_steps,
        on_existing="resume" if _FLAGS.resume_last_run else on_existing,
        save_checkpoints=_FLAGS.save_checkpoints,
        precision=_FLAGS.precision,
        torch_compile=_FLAGS.torch_compile,
        allow_partial_data=_FLAGS.allow_partial_data,
        tensorboard=_FLAGS.tensorboard,
    )


def main(_: list[str]) -> None:
    """Runs the trials; exits with 1 if one failed, 2 if the input is wrong."""
    try:
        settings = settings_from_flags()
        if _FLAGS.calibrate:
            calibration.check(settings, Path(_FLAGS.calibrate))
        is_good = experiment.run(settings)
    except AlgoPerfError as error:
        if str(error):
            print(f"submission_runner: error: {error}", file=sys.stderr)
        sys.exit(exit_status.WRONG_INPUT)
    sys.exit(exit_status.OK if is_good else exit_status.FAILED)


if __name__ == "__main__":
    app.run(main)
