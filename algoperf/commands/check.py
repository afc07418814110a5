"""`algoperf check`: checks a submission without running it."""

import argparse
from pathlib import Path

from algoperf import registry, submission
from algoperf.errors import AlgoPerfError
from algoperf.runner import review
from algoperf.runner.tuning import as_hyperparameters, load_search_space

_SPACE_FILE = "tuning_search_space.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("submission", type=Path, help="the submission's Python file")
    parser.add_argument(
        "--search-space",
        type=Path,
        metavar="FILE",
        help=f"default: {_SPACE_FILE} beside the submission, if there is one",
    )


def execute(options: argparse.Namespace) -> int:
    """Prints what was checked and a verdict; status 1 when there are problems."""
    loaded = submission.load(options.submission)
    print(f"{options.submission}: all functions are there and can be called.")
    problems = []
    space = options.search_space or loaded.path.parent / _SPACE_FILE
    if options.search_space or space.exists():
        point = load_search_space(space).points(seed=0, study=1, num_trials=1)[0]
        print(f"{space}: a point of it is {as_hyperparameters(point)}.")
    for name, definition in registry.definitions().items():
        try:
            size, source = loaded.batch_size(definition)
        except AlgoPerfError as error:
            is_unknown = isinstance(error.__cause__, ValueError)
            if definition.tier == "full" or not is_unknown:
                problems.append(f"{name}: {error}")
            else:
                print(f"{name}: not supported, and not scored: {error}")
            continue
        print(f"{name}: batch size {size:,} ({source}).")
    hints = review.hints(loaded.path, registry.definitions())
    for hint in hints:
        print(f"look at: {hint}")
    for problem in problems:
        print(f"problem: {problem}")
    warned = "ok, with places to look at" if hints else "ok"
    print("verdict: " + ("not valid" if problems else warned))
    return 1 if problems else 0
