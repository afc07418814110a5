"""Starts the processes of a run with PyTorch's elastic launcher, as torchrun does.

`python -m algoperf.pytorch_backend.processes COUNT MODULE FOLDER` exits with 1 if a process
failed. Which ones and how, which torchrun does not tell, it writes into `failed.json` in FOLDER:
exit statuses by rank, negative for a signal.
"""

import json
import logging
import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def main(arguments: list[str]) -> int:
    """Runs the module in so many processes until all have ended or one has failed."""
    count, module, folder = int(arguments[0]), arguments[1], Path(arguments[2])
    # What it warns of, the launcher says in the words of the benchmark.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    # As torchrun has it: processes on one machine must not each take all cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=folder.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    command = ("-P", "-u", "-m", module, str(folder))
    try:
        elastic_launch(config, entrypoint=sys.executable)(*command)
    except ChildFailedError as error:
        failed = {rank: failure.exitcode for rank, failure in error.failures.items()}
        (folder / "failed.json").write_text(json.dumps(failed))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
