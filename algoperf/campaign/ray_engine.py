"""Places attempts on a Ray cluster: one task each, and below it the attempt's own process.

A timed attempt gets a whole node. Ray only finds a free node; it neither retries nor keeps results:
what came of an attempt stands in the campaign's folder, which all nodes must share.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from algoperf.campaign import hardware
from algoperf.campaign.attempt import Job
from algoperf.campaign.engines import Ended, EngineOptions, start_attempt
from algoperf.errors import BadSettings, MissingDependency

_THREADS = "OMP_NUM_THREADS"  # Ray sets it by the task's number of CPUs


class RayEngine:
    """Runs attempts on the nodes of a cluster, or of one that it starts on this machine."""

    name = "ray"

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        self._ray = _imported(is_local=options.address is None)
        self._options = options
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        _connect(self._ray, options.address)
        nodes = self._nodes()
        if not nodes:
            raise BadSettings(
                "The Ray cluster has no node with a CPU. Start its workers."
            )
        if options.is_scored:
            _check_one_kind(self._facts(nodes))
        self._task = self._ray.remote(max_retries=0)(run_attempt)
        self._running: dict[Any, tuple[str, Any]] = {}

    @property
    def slots(self) -> int:
        """Attempts at a time: by the nodes that are alive now."""
        nodes = len(self._nodes())
        return min(nodes, self._options.max_nodes or nodes) * self._options.per_node

    def start(self, key: str, job: Job) -> None:
        """See `engines.Engine`: the task waits in Ray's queue until a node is free."""
        bundle = self._bundle()
        group = self._ray.util.placement_group([bundle], strategy="STRICT_PACK")
        strategy = (
            self._ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
                placement_group=group
            )
        )
        task = self._task.options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=strategy,
        )
        reference = task.remote(job.dumps(), os.environ.get(_THREADS), self._umask)
        self._running[reference] = key, group

    def ended(self, seconds: float) -> list[Ended]:
        """See `engines.Engine`."""
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        found = []
        for reference in ready:
            key, group = self._running.pop(reference)
            try:
                how = f"its process exited with status {self._ray.get(reference)}"
            except self._ray.exceptions.RayError as error:
                # The first line of an error of the task itself names only the task.
                cause = getattr(error, "cause", None)
                how = repr(cause) if cause else str(error).strip().splitlines()[0]
            self._ray.util.remove_placement_group(group)
            found.append(Ended(key, how))
        return found

    def stop(self) -> None:
        """See `engines.Engine`."""
        for reference in self._running:
            self._ray.cancel(reference, force=False)

    def close(self) -> None:
        """See `engines.Engine`."""
        with contextlib.suppress(Exception):  # the cluster may be gone
            for _, group in self._running.values():
                self._ray.util.remove_placement_group(group)
        self._ray.shutdown()

    def _bundle(self) -> dict[str, float]:
        """What an attempt needs of a node: everything, or an equal part."""
        nodes = [node["Resources"] for node in self._nodes()]
        if not nodes:  # all are lost for now; one that comes will have something
            return {"CPU": 1.0}
        share = self._options.per_node
        bundle = {"CPU": min(float(node["CPU"]) for node in nodes) / share}
        gpus = min(float(node.get("GPU", 0)) for node in nodes) / share
        if gpus:
            bundle["GPU"] = gpus
        return {name: _rounded(amount) for name, amount in bundle.items()}

    def _nodes(self) -> list[dict[str, Any]]:
        """Nodes that can run attempts: where some have GPUs, those alone."""
        alive = [
            node
            for node in self._ray.nodes()
            if node["Alive"] and node["Resources"].get("CPU", 0) > 0
        ]
        with_gpus = [node for node in alive if node["Resources"].get("GPU", 0) > 0]
        return with_gpus or alive

    def _facts(self, nodes: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Each node's hardware, by its name."""
        task = self._ray.remote(num_cpus=0)(hardware.facts)
        strategies = self._ray.util.scheduling_strategies
        asked = {
            f"{node['NodeManagerHostname']} ({node['NodeID'][:8]})": task.options(
                scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(
                    node_id=node["NodeID"], soft=False
                )
            ).remote()
            for node in nodes
        }
        return {name: self._ray.get(answer) for name, answer in asked.items()}


def run_attempt(text: str, threads: str | None, umask: int) -> int:
    """Runs an attempt on a node, in a process of its own; returns its exit status.

    threads: OMP_NUM_THREADS of the driver; None: not set.
    """
    environment = {k: v for k, v in os.environ.items() if k != _THREADS}
    if threads is not None:
        environment[_THREADS] = threads
    os.umask(umask)
    process = start_attempt(Job.loads(text), environment=environment)
    try:
        return process.wait()
    finally:  # cancelled: the trial writes a checkpoint first
        if process.poll() is None:
            process.terminate()
            process.wait()


def _rounded(amount: float) -> float:
    """Ray takes whole numbers above 1."""
    return float(int(amount)) if amount >= 1 else round(amount, 3)


def _imported(*, is_local: bool) -> Any:
    # Variables that Ray reads when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_local:
        # In spite of its name: without clusters, a node's address is the loopback's.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
        import ray.util.scheduling_strategies
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"The Ray engine needs the package {error.name!r}. Run: pip install "
            "'algoperf[ray]'."
        ) from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connects to a cluster, or starts one that only this machine can reach."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        with _private_files():  # it writes its token
            ray.init(address="local", include_dashboard=False, **options)
        return
    try:
        with _private_files():
            ray.init(address=address, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadSettings(
            f"--address {address!r}: no Ray cluster answers ({reason}). Give HOST:PORT of its "
            "head, ray://HOST:PORT, or leave --address out to start one here."
        ) from None


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _check_one_kind(found: dict[str, dict[str, Any]]) -> None:
    """Times on different hardware cannot be compared."""
    kinds: dict[str, list[str]] = {}
    for name, facts in found.items():
        kinds.setdefault(json.dumps(facts, sort_keys=True), []).append(name)
    if len(kinds) > 1:
        lines = [f"  {', '.join(names)}: {kind}" for kind, names in kinds.items()]
        raise BadSettings(
            "The nodes of the Ray cluster differ, and times on different hardware cannot be "
            "compared. Use nodes of one kind, or --unscored.\n" + "\n".join(lines)
        )
