"""What a campaign adds: per trial, with kills, in the driver's memory, and for a look at its state.

`python benchmarks/campaign.py overhead [--engine local|ray] [--trials 10]`
`python benchmarks/campaign.py kills [--engine local|ray] [--trials 500] [--every 2.0]`
`python benchmarks/campaign.py memory [--trials 10000]`
`python benchmarks/campaign.py status [--trials 10000]`

Trials are of the numpy benchmark in `tests/toy`, a step long, so that what is measured is the
campaign around them. `overhead` compares with the same trials, each launched by one process that
runs nothing else (`launch`), and with an empty Python process.
"""

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "toy"
PATHS = [str(TOY / "site"), str(TOY), str(ROOT)]


def restart_with_the_toy() -> None:
    """Starts this program again where every process knows the toy benchmark."""
    if os.environ.get("PYTHONPATH", "").startswith(PATHS[0]):
        return
    variables = {"PYTHONPATH": os.pathsep.join(PATHS), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *sys.argv]
    os.execve(sys.executable, command, {**os.environ, **variables})


def make_campaign(folder: Path, trials: int, studies: int = 1):  # type: ignore[no-untyped-def]
    """A campaign of so many toy trials in each study."""
    import toy_workload

    from algoperf.campaign.ledger import Campaign
    from algoperf.campaign.plan import Entry, Plan

    space = folder / "space.json"
    folder.mkdir(parents=True, exist_ok=True)
    space.write_text('{"learning_rate": {"min": 0.05, "max": 0.5, "scaling": "log"}}')
    toy_workload.prepare(folder / "data")
    entry = Entry(TOY / "sgd.py", "sgd", "toy", "external", space)
    plan = Plan(
        "benchmark",
        folder / "logs",
        (entry,),
        ("blobs",),
        folder / "data",
        studies=studies,
        trials=trials,
        max_steps=3,
        eval_every_steps=3,
        notice_seconds=5.0,
    )
    return Campaign(plan)


def engine_of(name: str, campaign, jobs: int):  # type: ignore[no-untyped-def]
    """An engine of this machine."""
    from algoperf.campaign import engines

    options = engines.EngineOptions(jobs=jobs, is_scored=False, per_node=jobs)
    return engines.make(name, options, campaign.folder)


class Silent:
    """A watcher that counts attempts."""

    def __init__(self) -> None:
        self.num_attempts = 0

    def started(self, key: str) -> None:
        """Counts."""
        self.num_attempts += 1

    def ended(self, state, *, is_left: bool) -> None:  # type: ignore[no-untyped-def]
        """Nothing to say."""

    def looked(self) -> None:
        """Nothing to draw."""


def overhead(options: argparse.Namespace) -> None:
    """Seconds per trial: an empty process, a launched trial, a trial of a campaign."""
    from algoperf.campaign.drive import Drive
    from algoperf.runner.launch import launch

    with tempfile.TemporaryDirectory() as temporary:
        bare = make_campaign(Path(temporary) / "bare", options.trials)
        empty, launched = [], []
        for plan in bare.trials.values():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            empty.append(time.perf_counter() - start)
            start = time.perf_counter()
            launch(plan)
            launched.append(time.perf_counter() - start)
        campaign = make_campaign(Path(temporary) / "campaign", options.trials)
        start = time.perf_counter()
        engine = engine_of(options.engine, campaign, 1)
        started = time.perf_counter() - start
        start = time.perf_counter()
        Drive(campaign, engine, Silent(), is_scored=False).run()
        seconds = (time.perf_counter() - start) / options.trials
    trial = statistics.median(launched)
    print(f"empty process {statistics.median(empty):.3f} s, bare trial {trial:.3f} s")
    print(
        f"{options.engine}: engine starts in {started:.2f} s, {seconds:.3f} s a trial, "
        f"overhead {seconds - trial:.3f} s a trial ({options.trials} trials)"
    )


def kills(options: argparse.Namespace) -> None:
    """Wall time and retries of short trials, some of whose processes are killed."""
    from algoperf import logs
    from algoperf.campaign.drive import Drive
    from algoperf.campaign.verdict import Cause, State

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["ALGOPERF_KILLS"] = temporary
        campaign = make_campaign(folder, options.trials)
        is_over, killed = threading.Event(), [0]
        killer = threading.Thread(
            target=kill, args=(is_over, temporary, options.every, killed)
        )
        watcher, rounds, start = Silent(), 0, time.perf_counter()
        killer.start()
        while True:
            rounds += 1
            engine = engine_of(options.engine, campaign, 2)
            Drive(campaign, engine, watcher, is_scored=False).run()
            if not campaign.retry([Cause.INFRASTRUCTURE]):
                break
        seconds = time.perf_counter() - start
        is_over.set()
        killer.join()
        states = campaign.look_at_all()
        done = sum(s.verdict.state is State.DONE for s in states)
        found = logs.read(campaign.folder)
        ids = {trial.id for trial in found}
        print(
            f"{options.engine}: {options.trials} trials, {killed[0]} processes killed, "
            f"{watcher.num_attempts} attempts, {rounds} runs, {seconds:.0f} s; done {done}, "
            f"trials in the logs {len(found)}, each once: "
            f"{len(ids) == len(found) == options.trials}"
        )
        quiet = make_campaign(folder / "quiet", options.trials)
        Drive(quiet, engine_of("local", quiet, 2), Silent(), is_scored=False).run()
        same = measured(campaign) == measured(quiet)
    print(f"steps and metrics of every trial as in a run without kills: {same}")


def measured(campaign) -> dict[str, dict[str, list[float]]]:  # type: ignore[no-untyped-def]
    """What was measured in each trial, except times."""
    from algoperf import logs
    from algoperf.evaluations import STEP

    return {
        str(trial.id): {
            name: list(map(repr, values.tolist()))
            for name, values in trial.columns.items()
            if name == STEP or "/" in name
        }
        for trial in logs.read(campaign.folder)
    }


def kill(is_over: threading.Event, mark: str, every: float, killed: list[int]) -> None:
    """Kills one process of the campaign now and then: an attempt, a trial, a Ray worker."""
    generator = random.Random(0)
    words = ("algoperf.campaign.attempt", "algoperf.runner.trial_process", "ray::run_")
    while not is_over.wait(generator.uniform(0.5, 1.5) * every):
        victims = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                is_ours = any(word in line for word in words)
                if is_ours and process.environ().get("ALGOPERF_KILLS") == mark:
                    victims.append(process)
            except psutil.Error:
                continue
        if victims:
            try:
                generator.choice(victims).kill()
                killed[0] += 1
            except psutil.Error:
                continue


def memory(options: argparse.Namespace) -> None:
    """Resident memory of a driver with so many planned trials."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_campaign(folder / "one", 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        campaign = make_campaign(folder / "many", 20, options.trials // 20)
        left = campaign.left()
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(left):,} planned trials: {after / 1024:.0f} MB resident, "
        f"{(after - before) / 1024:.0f} MB more than with one; planned in {seconds:.2f} s"
    )


def status(options: argparse.Namespace) -> None:
    """Seconds that `algoperf campaign status` takes on so many finished trials."""
    from algoperf import logs
    from algoperf.campaign.records import BEGAN, ENDED
    from algoperf.outcome import Outcome, OutcomeRecord

    with tempfile.TemporaryDirectory() as temporary:
        campaign = make_campaign(Path(temporary), 20, options.trials // 20)
        campaign.write_manifest()
        record = OutcomeRecord(
            Outcome.REACHED, "done", {"total": 10.0, "submission": 5.0}
        )
        # Made, not run: what is measured reads these files alone.
        os.fsync = lambda number: None  # type: ignore[assignment]
        for trial in campaign.trials.values():
            logs.write_outcome(trial.folder, record)
            records = campaign.records(trial)
            records.append(BEGAN, pid=1, host="x", engine="local")
            records.append(ENDED, status=0, outcome="reached", cause=None, reason="")
        command = [sys.executable, "-m", "algoperf.cli", "campaign", "status"]
        command.append(str(campaign.folder))
        taken, used = [], []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - start)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used.append(
                after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            )
    print(
        f"status of {len(campaign.trials):,} finished trials: {min(taken):.2f} to "
        f"{max(taken):.2f} s, {min(used):.2f} s of processor time"
    )


def main() -> None:
    """Measures one thing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("overhead", "kills", "memory", "status"))
    parser.add_argument("--engine", default="local", choices=("local", "ray"))
    parser.add_argument("--trials", type=int)
    parser.add_argument("--every", type=float, default=2.0, help="seconds")
    options = parser.parse_args()
    defaults = {"overhead": 10, "kills": 500, "memory": 10_000, "status": 10_000}
    options.trials = options.trials or defaults[options.what]
    globals()[options.what](options)


if __name__ == "__main__":
    restart_with_the_toy()
    main()
