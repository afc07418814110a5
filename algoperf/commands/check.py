"""`algoperf check`: reads a submission, then rehearses a few of its steps."""

import argparse
import contextlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf import console, exit_status, paths, registry, submission
from algoperf.campaign.plan import SPACE_FILE
from algoperf.commands import output, submission_options
from algoperf.download import readable_size
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.frameworks import check_framework
from algoperf.logs import Outcome
from algoperf.procedures import rehearsal
from algoperf.rulesets import TUNING_RULESETS, TuningRuleset
from algoperf.runner import door
from algoperf.runner.fairness import review
from algoperf.runner.tuning import as_hyperparameters, load_search_space

EXAMPLES = """\
examples:
  algoperf check submissions/mine/submission.py
  algoperf check submissions/mine/submission.py --static --json findings.json"""

# Dense images; graphs of many arrays, with masks and dropout.
_WORKLOADS = ("mnist_mini", "ogbg_mini")
# Of the benchmark paper (arXiv 2306.07179): one machine with eight V100 of 16 GB.
_OFFICIAL_DEVICES = 8
_OFFICIAL_DEVICE_BYTES = 16 * 2**30
_BYTES_OF_PARAMS_AND_GRADS = 4 + 4  # float32, for each parameter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add(
        "submission",
        type=Path,
        metavar="SUBMISSION",
        help="Python file of the submission.",
    )
    submission_options.add_search_space(parser)
    add(
        "--tuning-ruleset",
        dest="tuning",
        choices=TUNING_RULESETS,
        help="Tuning ruleset (default: external with a search space, self without).",
    )
    add(
        "--framework",
        metavar="NAME",
        help="Framework: jax or pytorch (default: the one that the file imports).",
    )
    add(
        "--workload",
        action="append",
        metavar="NAME",
        help="Workload to rehearse on; may be given several times "
        f"(default: {' and '.join(_WORKLOADS)}).",
    )
    add(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="Directory containing prepared data (default: as for `algoperf run`; "
        "a _mini workload needs none).",
    )
    add(
        "--static",
        action="store_true",
        help="Only read and load the submission, without training steps.",
    )
    add("--verbose", action="store_true", help="List the batch size of every workload.")
    output.add_json(parser, "the findings and the verdict")


@dataclass
class _Findings:
    """Problems, warnings and hints that the verdict is based on, and facts."""

    hints: list[review.Hint] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)  # what is as it should be

    @property
    def verdict(self) -> str:
        """In words."""
        if self.problems:
            return "not valid"
        return "ok, with warnings" if self.hints or self.warnings else "ok"

    @property
    def status(self) -> int:
        """The exit status."""
        return exit_status.FAILED if self.problems else exit_status.OK

    def text(self) -> str:
        """What to look at first, then the facts, and the verdict."""
        return "\n".join(
            [
                *(f"problem: {problem}" for problem in self.problems),
                *(f"warning: {warning}" for warning in self.warnings),
                *(f"look at: {hint}" for hint in self.hints),
                *self.facts,
                f"verdict: {self.verdict}",
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "verdict": self.verdict,
            "problems": self.problems,
            "warnings": self.warnings,
            "look_at": [str(hint) for hint in self.hints],
            "facts": self.facts,
        }


def execute(options: argparse.Namespace) -> int:
    """Prints what was checked and a verdict; status 1 when there are problems."""
    output.check(options.json)
    findings = _Findings()
    # A submission may change the current directory when it is imported.
    options.submission = paths.absolute(options.submission)
    if options.json is not None and options.json != output.STDOUT:
        options.json = paths.absolute(options.json)
    space = _search_space_file(options)
    _check_input(options, space)
    with _environment_of_its_own():
        loaded = _load(options.submission, findings)
        if loaded:
            _check_batch_sizes(loaded, options.verbose, findings)
    _check_search_space(space, findings)
    findings.hints = review.hints(options.submission, registry.definitions())
    if options.static:
        findings.facts.append("Nothing was run (--static).")
    elif findings.problems:
        findings.facts.append("Nothing was run: solve the problems first.")
    else:
        _rehearse(options, space, findings)
    if options.json is not None:
        output.write_json(options.json, findings.to_json(), "Findings")
    if options.json != output.STDOUT:
        output.say(findings.text())
    return findings.status


def _check_input(options: argparse.Namespace, space: Path | None) -> None:
    """Refuses wrong arguments before any code of the submission runs."""
    if not options.submission.is_dir():  # `submission.load` knows which file is meant
        door.check_file(options.submission, "submission file")
    if space is not None:
        door.check_file(space, "search space file")
        if options.tuning == "self":
            raise BadSettings(
                f"Self-tuning takes no search space, but got {space}. Leave out "
                "--search-space, or choose --tuning-ruleset external."
            )
    if space is None and options.tuning == "external":
        raise BadSettings(
            f"External tuning needs a search space, and there is no {SPACE_FILE} beside "
            "the submission. Give one with --search-space."
        )
    if options.framework is not None:
        check_framework(options.framework)
    for workload in options.workload or ():
        registry.definition(workload)


@contextlib.contextmanager
def _environment_of_its_own() -> Iterator[None]:
    """Undoes what importing a submission set: the rehearsal must observe it being set."""
    before = dict(os.environ)
    # A submission that asks for its devices when imported must leave memory to the rehearsal.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _load(path: Path, findings: _Findings) -> submission.Submission | None:
    try:
        loaded = submission.load(path)
    except AlgoPerfError as error:
        if not path.is_file():
            raise
        findings.problems.append(str(error))
        return None
    findings.facts.append(f"{path}: all required functions exist and can be called.")
    return loaded


def _search_space_file(options: argparse.Namespace) -> Path | None:
    beside: Path = options.submission.parent / SPACE_FILE
    if options.search_space is not None:
        return paths.absolute(options.search_space)
    return beside if beside.exists() and options.tuning != "self" else None


def _check_search_space(space: Path | None, findings: _Findings) -> None:
    if space is None:
        return
    try:
        point = load_search_space(space).points(seed=0, study=1, num_trials=1)[0]
    except AlgoPerfError as error:
        if not space.is_file():
            raise
        findings.problems.append(str(error))
        return
    findings.facts.append(f"{space}: its first point is {as_hyperparameters(point)}.")


def _check_batch_sizes(
    loaded: submission.Submission, is_verbose: bool, findings: _Findings
) -> None:
    sizes: dict[str, tuple[int, str]] = {}
    lacking = []
    for name, definition in registry.definitions().items():
        try:
            size, source = sizes[name] = loaded.batch_size(definition)
        except AlgoPerfError as error:
            is_unknown = isinstance(error, submission.UnknownBatchSize)
            if definition.tier == "full" or not is_unknown:
                findings.problems.append(f"{name}: {error}")
            else:
                lacking.append(name)
            continue
        if is_verbose:
            findings.facts.append(f"{name}: batch size {size:,} ({source}).")
        if definition.tier == "full" and size % _OFFICIAL_DEVICES:
            findings.warnings.append(
                f"{name}: the batch size {size:,} is not a multiple of "
                f"{_OFFICIAL_DEVICES}, the number of devices of the official hardware."
            )
    findings.facts += _batch_size_words(sizes, lacking, is_verbose)


def _batch_size_words(
    sizes: Mapping[str, tuple[int, str]], lacking: Sequence[str], is_verbose: bool
) -> list[str]:
    """How many workloads have a batch size from where; which have none."""
    counts = Counter(
        "the submission" if source.startswith("submission") else "definitions"
        for _, source in sizes.values()
    )
    sources = ", ".join(f"{count} from {name}" for name, count in counts.items())
    hint = "" if is_verbose else " (--verbose lists them)"
    words = [f"Batch sizes: {sources}{hint}."] if sizes else []
    if lacking:
        shown = lacking if is_verbose else lacking[:3]
        more = ", …" if len(shown) < len(lacking) else ""
        words.append(
            "No batch size on workloads that are never scored: "
            f"{', '.join(shown)}{more} ({len(lacking)} in all)."
        )
    return words


def _rehearse(
    options: argparse.Namespace, space: Path | None, findings: _Findings
) -> None:
    """A few steps on each workload, and what their memory means for the full ones."""
    tuning: TuningRuleset = options.tuning or ("external" if space else "self")
    framework, told_by = options.framework, "--framework"
    if framework is None:
        framework, told_by = rehearsal.framework_of(options.submission)
    check_framework(framework)
    findings.facts.append(f"framework: {framework} ({told_by}). Tuning: {tuning}.")
    if tuning == "self":
        findings.facts.append(
            f"Hyperparameters are None: there is no {SPACE_FILE} beside the submission, "
            "or self-tuning was asked for. --search-space FILE gives one."
        )
    rehearsals = []
    data_dir = None if options.data_dir is None else paths.absolute(options.data_dir)
    for workload in options.workload or _WORKLOADS:
        console.tell(f"rehearsing a few steps on {workload} …")
        result = rehearsal.rehearse(
            options.submission,
            framework,
            workload,
            tuning=tuning,
            search_space=space,
            data_dir=data_dir,
        )
        _tell(result, findings)
        _tell_of_resuming(result, findings)
        rehearsals += [result] if result.is_good else []
    if rehearsals and not findings.problems:
        _estimate_memory(framework, rehearsals, findings)


def _tell(result: rehearsal.Rehearsal, findings: _Findings) -> None:
    ending = result.outcome.value if result.outcome else "not started"
    text = f"rehearsal on {result.workload}: {ending}: {result.reason}"
    if result.is_good:
        findings.facts.append(
            f"rehearsal on {result.workload}: ok: {result.reason}. Evaluations: "
            f"{result.num_evaluations}. Memory: {_size(result.host_bytes)} on the host, "
            f"{_size(result.device_bytes)} on the device."
        )
    elif result.outcome is Outcome.DIVERGED:
        findings.warnings.append(f"{text}. Is the point unlucky, or the update wrong?")
    elif result.outcome is Outcome.NOT_REACHED:
        findings.warnings.append(f"{text}, before any evaluation")
    else:
        findings.problems.append(text)


def _tell_of_resuming(result: rehearsal.Rehearsal, findings: _Findings) -> None:
    """Whether a trial that was killed and resumed ends like an uninterrupted one."""
    findings.warnings += [
        f"rehearsal on {result.workload}: {problem}"
        for problem in result.resume_problems
    ]
    if result.is_good and result.num_evaluations > 1 and not result.resume_problems:
        findings.facts.append(
            f"rehearsal on {result.workload}: killed after its first evaluation and resumed, "
            "it ended with the same bits."
        )


def _estimate_memory(
    framework: str, rehearsals: list[rehearsal.Rehearsal], findings: _Findings
) -> None:
    states = {r.workload: r.state for r in rehearsals if r.state is not None}
    if not states:
        findings.warnings.append(
            "the optimizer's state could not be saved: its size is unknown, and runs cannot "
            "be resumed"
        )
        return
    workload, state = max(states.items(), key=lambda item: item[1].bytes_per_param)
    findings.facts.append(
        f"optimizer state: {state.bytes_per_param:.3g} bytes a parameter "
        f"({readable_size(state.num_bytes)} on {workload}). At this rate, with parameters "
        "and gradients:"
    )
    for name, count in rehearsal.parameter_counts(framework).items():
        needed = int(count * (state.bytes_per_param + _BYTES_OF_PARAMS_AND_GRADS))
        findings.facts.append(
            f"  {name}: {count:,} parameters, at least {readable_size(needed)}"
        )
        if needed > _OFFICIAL_DEVICE_BYTES:
            findings.warnings.append(
                f"{name}: about {readable_size(needed)} for parameters, gradients and "
                "optimizer state alone; a device of the official hardware has 16 GB"
            )
    findings.facts.append(
        "  Left out: activations, batches, temporary arrays. State that does not grow with "
        "the number of\n  parameters, such as matrices of Shampoo, is estimated wrongly."
    )


def _size(num_bytes: float) -> str:
    return "not counted" if math.isnan(num_bytes) else readable_size(int(num_bytes))
