"""Every cheat of `snippets` is found, in a fork of a process in which guards were made.

A fork takes milliseconds, and what a cheat does to a process ends with it.
"""

import os
import select
import signal
import socket
import sys
import threading
import traceback
import warnings

import pytest
import snippets

from algoperf import backend as backends
from algoperf import registry, rulesets
from algoperf.runner.clock import Phase
from algoperf.runner.fairness.audit_hook import AuditHook
from algoperf.runner.fairness.guards import Guards
from algoperf.runner.fairness.stray_workers import StrayWorkers
from algoperf.runner.fairness.untimed import OffClockSampler
from algoperf.workload import Workload

PACKAGES = {"pytorch": "torch", "jax": "jax"}
CASES = [
    *(("pytorch", name) for name in (*snippets.OF_BOTH, *snippets.OF_PYTORCH)),
    *(("jax", name) for name in snippets.OF_JAX),
]
CODE = {
    "pytorch": snippets.OF_BOTH | snippets.OF_PYTORCH,
    "jax": snippets.OF_JAX,
}
BUSY = (
    "import time\nimport numpy as np\nSTARTED = []\n"
    "def until():\n"
    "    STARTED.append(time.perf_counter())\n    return STARTED[0] + 0.3\n"
    "def busy():\n    end = time.perf_counter() + 0.3\n"
    "    while time.perf_counter() < end: sum(range(1000))\n"
)


def in_a_fork(act):
    """The texts that `act` returns in a copy of this process; its traceback as an error."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        send, end = REAL_WRITE, os._exit
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch warns of some of these itself
                text = "\n".join(act())
        except BaseException:
            text = "error: " + traceback.format_exc()
        send(write, text.encode() or b"nothing")
        end(0)
    os.close(write)
    # A fork may hang, for the threads of its parent are not in it.
    if not select.select([read], [], [], 30)[0]:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read().decode() or "error: it ended"
    os.waitpid(child, 0)
    assert not text.startswith("error"), text
    return [] if text == "nothing" else text.split("\n")


REAL_WRITE = os.write


@pytest.fixture(scope="module")
def bound():
    """For a framework: a workload that is bound to it, and guards from before any cheat."""
    made = {}

    def make(framework):
        pytest.importorskip(PACKAGES[framework])
        if framework not in made:
            from algoperf.runner import trial_process  # noqa: F401  # what a trial has loaded

            backend = backends.load(framework)
            definition = registry.definition("mnist_mini")
            modules = registry.workload_modules(definition, framework)
            workload = Workload(
                definition,
                backend,
                modules.model,
                modules.metrics,
                ruleset=rulesets.ruleset("paper"),
                tuning="self",
            )
            guards = Guards(
                modules=modules.as_modules(),
                objects={
                    "workload": workload,
                    "model": workload._model,
                    "backend": backend,
                },
                value=workload.definition,
                settings=backend.process_settings,
            )
            made[framework] = workload, guards
        return made[framework]

    return make


def names_of(framework, workload):
    import numpy as np

    names = {"workload": workload, "np": np, "__name__": "submission"}
    if framework == "pytorch":
        import torch

        return names | {"torch": torch}
    import jax
    import jax.numpy as jnp

    return names | {"jax": jax, "jnp": jnp}


@pytest.mark.parametrize("framework", PACKAGES)
def test_where_nothing_was_done_nothing_is_found(bound, framework):
    _, guards = bound(framework)
    assert in_a_fork(guards.find) == []


@pytest.mark.parametrize(("framework", "name"), CASES)
def test_what_was_changed_is_found(bound, framework, name):
    workload, guards = bound(framework)

    def act():
        exec(CODE[framework][name], names_of(framework, workload))
        return guards.find()

    assert in_a_fork(act) != []


@pytest.mark.parametrize("name", snippets.ACTS)
def test_what_was_read_written_sent_or_started_is_found(name, tmp_path):
    data, logs, own = (tmp_path / part for part in ("data", "logs", "own"))
    for folder in (data, logs, own):
        folder.mkdir()
    (data / "manifest.json").write_text("{}")
    (logs / "x").write_text("x")
    (own / "x").write_text("x")
    old = tmp_path / "old.socket"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(old))

    def act():
        import numpy as np

        read, write = os.pipe()
        hook = AuditHook(lambda: True, data=[data], logs=[logs], submission=own)
        hook.tell_from_child = lambda text: os.write(write, text.encode())
        hook._began += 3_600  # the old socket was there before
        workers = StrayWorkers()
        names = {"data": str(data), "logs": str(logs), "own": str(own), "os": os}
        with hook:
            exec(snippets.ACTS[name], names | {"np": np, "old_socket": str(old)})
        os.set_blocking(read, False)
        try:
            told = [os.read(read, 10_000).decode()]
        except BlockingIOError:
            told = []
        return hook.found + told + workers.find()

    found = in_a_fork(act)
    server.close()
    assert found != []


@pytest.mark.parametrize("phase", [Phase.EVALUATION, Phase.CHECKPOINT])
@pytest.mark.parametrize("name", snippets.WORK)
def test_work_while_the_clock_stands_still_is_found(name, phase, tmp_path):
    path = tmp_path / "submission.py"
    code = BUSY + snippets.WORK[name]

    def act():
        names = {"__file__": str(path), "__name__": "submission"}
        exec(compile(code, str(path), "exec"), names)
        with OffClockSampler([tmp_path]) as sampler:
            sampler.begin(phase)
            names["act"]()
            sampler.end(phase)
        return sampler.found

    assert in_a_fork(act) != []


def test_the_harness_own_work_and_idle_threads_are_none(tmp_path):
    """The sampler tells code of the submission from what waits, and from all other code."""

    def act():
        code = "import threading\nE = threading.Event()\ndef wait(): E.wait()\n"
        names = {"__file__": str(tmp_path / "submission.py")}
        exec(compile(code, str(tmp_path / "elsewhere.py"), "exec"), names)
        with OffClockSampler([tmp_path / "other"]) as sampler:
            sampler.begin(Phase.EVALUATION)
            for _ in range(50):
                sum(range(100_000))
            sampler.end(Phase.EVALUATION)
        return sampler.found

    assert in_a_fork(act) == []
    assert threading.main_thread() and sys.modules
