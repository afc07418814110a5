"""Loads a submission in a process of its own and asks for its batch sizes.

`python -m algoperf.campaign.examine FILE WORKLOAD…` prints the problems as a JSON list.
"""

import json
import sys
from pathlib import Path

from algoperf import registry, submission
from algoperf.errors import AlgoPerfError


def problems(path: Path, workloads: list[str]) -> list[str]:
    """What is wrong with the submission for these workloads."""
    try:
        loaded = submission.load(path)
    except AlgoPerfError as error:
        return [str(error)]
    found = []
    for name in workloads:
        try:
            loaded.batch_size(registry.definition(name))
        except AlgoPerfError as error:
            found.append(f"{name}: {error}")
    return found


if __name__ == "__main__":
    print("\n" + json.dumps(problems(Path(sys.argv[1]), sys.argv[2:])))
