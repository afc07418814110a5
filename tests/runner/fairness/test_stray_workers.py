import _thread
import concurrent.futures
import importlib
import multiprocessing
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from algoperf.pipeline import InputQueue
from algoperf.runner.fairness.stray_workers import StrayWorkers

WAIT = "import sys; sys.stdin.read()"


@pytest.fixture
def release():
    """An event that threads of a test wait for; set at its end."""
    event = threading.Event()
    yield event
    event.set()


class CountingBatches:
    num_batches = None

    def batch(self, index):
        return {"inputs": index}


def start_waiting_child(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WAIT, *arguments], stdin=subprocess.PIPE
    )


def end(child: subprocess.Popen) -> None:
    child.communicate()


def test_a_quiet_process_has_no_stray_worker():
    assert StrayWorkers().find() == []


def test_a_thread_that_still_runs_is_named(release):
    stray_workers = StrayWorkers()
    threading.Thread(target=release.wait, name="pretraining").start()
    assert stray_workers.find() == ["thread 'pretraining'"]


def test_a_thread_that_was_joined_is_no_stray_worker():
    stray_workers = StrayWorkers()
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert stray_workers.find() == []


def test_threads_from_before_the_submission_are_no_stray_worker(release):
    threading.Thread(target=release.wait).start()
    assert StrayWorkers().find() == []


def test_threads_that_read_batches_ahead_are_no_stray_worker():
    stray_workers = StrayWorkers()
    queue = InputQueue(CountingBatches(), lambda batch: batch)
    next(queue)
    assert stray_workers.find(queue.threads) == []
    queue.close()


def test_threads_that_the_harness_starts_for_itself_are_no_stray_worker(release):
    stray_workers = StrayWorkers()
    with stray_workers.harness():
        threading.Thread(target=release.wait).start()
    assert stray_workers.find() == []


def test_a_thread_started_after_the_harness_own_is_found(release):
    stray_workers = StrayWorkers()
    with stray_workers.harness():
        pass
    threading.Thread(target=release.wait, name="pretraining").start()
    assert stray_workers.find() == ["thread 'pretraining'"]


def test_a_thread_cannot_hide_behind_a_name_of_the_harness(release):
    stray_workers = StrayWorkers()
    threading.Thread(target=release.wait, name="algoperf-input_0").start()
    assert stray_workers.find() == ["thread 'algoperf-input_0'"]


def test_a_thread_started_below_the_threading_module_is_found():
    stray_workers = StrayWorkers()
    started, go_on = _thread.allocate_lock(), _thread.allocate_lock()
    started.acquire()
    go_on.acquire()

    def work():
        started.release()
        go_on.acquire()

    _thread.start_new_thread(work, ())
    started.acquire()
    found = stray_workers.find()
    go_on.release()
    assert len(found) == 1


def test_a_child_process_that_still_runs_is_named():
    stray_workers = StrayWorkers()
    child = start_waiting_child()
    found = stray_workers.find()
    end(child)
    assert len(found) == 1
    assert found[0].startswith(f"child process {child.pid} (")


def test_a_child_process_that_has_ended_is_no_stray_worker():
    stray_workers = StrayWorkers()
    end(start_waiting_child())
    assert stray_workers.find() == []


def test_a_child_process_that_ended_without_being_waited_for_is_no_stray_worker():
    stray_workers = StrayWorkers()
    child = start_waiting_child()
    child.stdin.close()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.005)
    assert stray_workers.find() == []
    child.wait()


def test_child_processes_from_before_the_submission_are_no_stray_worker():
    child = start_waiting_child()
    stray_workers = StrayWorkers()
    assert stray_workers.find() == []
    end(child)


def test_a_child_process_cannot_hide_behind_an_argument():
    stray_workers = StrayWorkers()
    child = start_waiting_child("multiprocessing.resource_tracker")
    found = stray_workers.find()
    end(child)
    assert len(found) == 1


def test_a_worker_of_a_fork_server_is_found():
    context = multiprocessing.get_context("forkserver")
    stray_workers = StrayWorkers()
    ours, theirs = context.Pipe()
    worker = context.Process(target=theirs.recv)
    worker.start()
    found = stray_workers.find()
    ours.send(None)
    worker.join()
    assert any(str(worker.pid) in description for description in found)


def test_the_monitor_of_a_progress_bar_in_compilers_is_no_stray_worker():
    tqdm = pytest.importorskip("tqdm")
    stray_workers = StrayWorkers()
    monitor = tqdm.TMonitor(tqdm.tqdm, 1_000)
    found = stray_workers.find()
    monitor.exit()
    assert found == []


def test_a_thread_that_calls_itself_a_monitor_is_found(release):
    stray_workers = StrayWorkers()
    threading.Thread(target=release.wait, name="tqdm_monitor").start()
    assert stray_workers.find() == ["thread 'tqdm_monitor'"]


def test_a_pool_without_work_is_no_stray_worker():
    stray_workers = StrayWorkers()
    pool = concurrent.futures.ThreadPoolExecutor(2)
    pool.submit(int).result()
    while stray_workers.find():  # until its thread waits again
        time.sleep(0.001)
    pool.shutdown()


def test_a_pool_that_works_is_found(release):
    stray_workers = StrayWorkers()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(release.wait)
    assert len(stray_workers.find()) == 1
    release.set()
    pool.shutdown()


def test_a_pool_with_work_that_it_has_not_begun_is_found(release):
    stray_workers = StrayWorkers()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    futures = [pool.submit(release.wait) for _ in range(3)]
    assert len(stray_workers.find()) == 1
    release.set()
    concurrent.futures.wait(futures)
    pool.shutdown()


LOGGER = """
import threading
GO_ON = threading.Event()

def start(target=GO_ON.wait):
    thread = threading.Thread(target=run, args=(target,), daemon=True)
    thread.start()
    return thread

def run(target):
    target()
"""


@pytest.fixture
def logger(tmp_path, monkeypatch):
    """Makes a module that stands for an installed one of the name `wandb`, or another."""

    def make(name="wandb", folder="site-packages"):
        package = tmp_path / folder / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(LOGGER)
        monkeypatch.syspath_prepend(str(tmp_path / folder))
        monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module(name)
        made.append(module)
        return module

    made = []
    yield make
    for module in made:
        sys.modules.pop(module.__name__, None)
    for module in made:
        module.GO_ON.set()


def found_after(thread_starts):
    stray_workers = StrayWorkers()
    thread = thread_starts()
    for _ in range(100):  # until it waits
        found = stray_workers.find()
        if not found:
            break
        time.sleep(0.01)
    return found, thread


def test_a_helper_of_a_logging_package_that_waits_is_no_stray_worker(logger):
    assert found_after(logger().start)[0] == []


def test_a_helper_of_a_logging_package_that_runs_other_code_is_found(logger, release):
    def pretrain():
        started.set()
        release.wait()

    started = threading.Event()
    stray_workers = StrayWorkers()
    logger().start(pretrain)
    started.wait()
    assert len(stray_workers.find()) == 1


@pytest.mark.parametrize(
    ("name", "folder"), [("apscheduler_x", "site-packages"), ("wandb", "mine")]
)
def test_no_other_package_and_no_folder_of_that_name_may_leave_threads(
    logger, name, folder
):
    stray_workers = StrayWorkers()
    logger(name, folder).start()
    assert len(stray_workers.find()) == 1


def test_a_program_of_a_logging_package_is_no_stray_worker(logger):
    core = Path(logger().__path__[0]) / "core"
    core.symlink_to(shutil.which("sleep"))
    stray_workers = StrayWorkers()
    child = subprocess.Popen([core, "600"])
    found = stray_workers.find()
    child.kill()
    child.wait()
    assert found == []
