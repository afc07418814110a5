"""Starts the processes of a run with PyTorch's elastic launcher, as torchrun does.

`python -m algoperf.pytorch_backend.processes COUNT MODULE FOLDER` ends as the process that
failed first has ended, with its status or by its signal, where torchrun itself would exit with
1 whatever happened; the file `failed_rank` in FOLDER names that process.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def main(arguments: list[str]) -> int:
    """Runs the module in so many processes until all have ended or one has failed."""
    count, module, folder = int(arguments[0]), arguments[1], Path(arguments[2])
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
        rank, failure = error.get_first_failure()
        (folder / "failed_rank").write_text(str(rank))
        return failure.exitcode
    return 0


def leave(status: int) -> None:
    """Ends this process with a status, or by the signal that a negative one stands for."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
