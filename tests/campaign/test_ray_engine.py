"""The Ray engine on a real cluster: three nodes on this machine, killed at random."""

import contextlib
import os
import random
import signal
import threading
from pathlib import Path

import psutil
import pytest
from fakes import Notes
from processes import environment, wait_until
from test_local_engine import start_driver

from algoperf import logs
from algoperf.campaign import ray_engine
from algoperf.campaign.drive import Drive
from algoperf.campaign.engines import EngineOptions
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.ray_engine import RayEngine
from algoperf.campaign.verdict import State
from algoperf.errors import BadSettings
from algoperf.outcome import Outcome

V100 = {"cpu": "x", "gpus": ["V100"], "gpu_count": 8, "driver": ["550"]}
A100 = {"cpu": "y", "gpus": ["A100"], "gpu_count": 4, "driver": ["560"]}


def test_nodes_of_one_kind_may_run_a_study():
    ray_engine._check_one_kind({"a": V100, "b": dict(V100)})


def test_mixed_hardware_is_refused_with_the_nodes_by_kind():
    with pytest.raises(
        BadSettings, match=r"--unscored\.\n  a, c: .*V100.*\n  b: .*A100"
    ):
        ray_engine._check_one_kind({"a": V100, "b": A100, "c": V100})


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one core each; nothing listens but on the loopback."""
    with three_nodes() as cluster:
        yield cluster


@contextlib.contextmanager
def three_nodes():
    """Starts a cluster, and ends it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the loopback alone
    pytest.importorskip("ray")
    before = os.umask(0o077)
    kept = dict(os.environ)
    os.environ.update(environment())
    from ray.cluster_utils import Cluster

    own = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        cluster = Cluster(initialize_head=True, head_node_args=own)
        for _ in range(2):
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
        yield cluster
        cluster.shutdown()
    finally:
        os.umask(before)
        os.environ.clear()
        os.environ.update(kept)


def engine_on(cluster, folder, **options) -> RayEngine:
    return RayEngine(EngineOptions(address=cluster.address, **options), folder)


def scores(folder):
    """What a trial came to, but for its times."""
    return {
        (t.id.study, t.id.trial): (
            t.outcome,
            t.columns["global_step"].tolist(),
            t.metric("validation/accuracy").tolist(),
        )
        for t in logs.read(folder)
    }


@pytest.mark.slow
def test_a_campaign_runs_on_all_nodes(cluster, make_plan, toy_everywhere):
    campaign = Campaign(make_plan(trials=3))
    engine = engine_on(cluster, campaign.folder)
    assert engine.slots == 3
    notes = Notes()
    assert Drive(campaign, engine, notes).run()
    assert {t.outcome for t in logs.read(campaign.folder)} == {Outcome.REACHED}
    assert [line[1:] for line in notes.lines] == [("done", False)] * 6


@pytest.mark.slow
def test_kills_at_random_change_no_score(cluster, make_plan, tmp_path, toy_everywhere):
    """Attempts, trials, Ray's workers and a node die; each trial still counts once."""
    steps = {"max_steps": 12, "eval_every_steps": 1, "workloads": ("blobs_far",)}
    quiet = Campaign(make_plan(folder=tmp_path / "quiet", trials=6, **steps))
    assert Drive(quiet, engine_on(cluster, quiet.folder), Notes()).run()
    campaign = Campaign(make_plan(folder=tmp_path / "killed", trials=6, **steps))
    # Before there is the node that will die: the driver must not be connected to that one.
    engine = engine_on(cluster, campaign.folder)
    victim = cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    is_over = threading.Event()
    killed = []
    killer = threading.Thread(target=kill_at_random, args=(is_over, killed))
    killer.start()
    timer = threading.Timer(
        4.0, lambda: cluster.remove_node(victim, allow_graceful=False)
    )
    timer.start()
    try:
        complete = Drive(campaign, engine, Notes()).run()
    finally:
        is_over.set()
        killer.join()
        timer.join()
    assert complete
    assert len(killed) >= 3
    found = {s.verdict.state for s in campaign.look_at_all()}
    assert found <= {State.DONE, State.FAILED}
    # A trial that was killed three times is not run again until somebody asks.
    from algoperf.campaign.verdict import Cause

    campaign.retry([Cause.INFRASTRUCTURE])
    assert Drive(campaign, engine_on(cluster, campaign.folder), Notes()).run()
    assert scores(campaign.folder) == scores(quiet.folder)


def kill_at_random(is_over: threading.Event, killed: list) -> None:
    """Kills an attempt, a trial or a worker of Ray, now and then."""
    generator = random.Random(0)
    while not is_over.wait(generator.uniform(0.8, 1.6)) and len(killed) < 8:
        victims = [
            process
            for process in psutil.process_iter(["cmdline", "name"])
            if is_victim(process)
        ]
        if victims:
            victim = generator.choice(victims)
            killed.append(" ".join(victim.info["cmdline"] or [])[:80])
            try:
                victim.send_signal(generator.choice([signal.SIGKILL, signal.SIGTERM]))
            except psutil.NoSuchProcess:
                killed.pop()


def is_victim(process: psutil.Process) -> bool:
    """Of this test's own cluster: a process below this one."""
    words = " ".join(process.info["cmdline"] or [])
    is_ours = any(
        name in words
        for name in ("algoperf.campaign.attempt", "trial_process", "ray::run_attempt")
    )
    try:
        return is_ours and str(os.getpid()) == process.environ().get("CAMPAIGN_TEST")
    except psutil.Error:
        return False


@pytest.fixture(scope="module", autouse=True)
def marked():
    """Marks the processes that the cluster starts as this test's."""
    os.environ["CAMPAIGN_TEST"] = str(os.getpid())
    yield
    os.environ.pop("CAMPAIGN_TEST", None)


@pytest.mark.slow
def test_the_driver_is_killed_and_its_successor_finishes(
    cluster, make_plan, tmp_path, toy_everywhere
):
    plan = make_plan(
        workloads=("blobs_far",), eval_every_steps=1, max_steps=12, trials=4
    )
    campaign = Campaign(plan)
    engine = ("--engine", "ray", "--address", cluster.address)
    driver = start_driver(plan, *engine)
    wait_until(
        lambda: any(Path(plan.folder, "sgd").rglob("outcome.json")), "a first outcome"
    )
    driver.kill()
    driver.communicate()
    driver = start_driver(plan, *engine)
    out, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, out
    states = campaign.look_at_all()
    assert {s.verdict.state for s in states} == {State.DONE}
    assert len(scores(plan.folder)) == 8


@pytest.mark.slow
def test_the_head_is_killed_and_the_campaign_goes_on_with_another(
    make_plan, tmp_path, toy_everywhere, monkeypatch
):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    plan = make_plan(workloads=("blobs_far",), max_steps=12, trials=4)
    campaign = Campaign(plan)
    with three_nodes() as cluster:
        driver = start_driver(plan, "--engine", "ray", "--address", cluster.address)
        wait_until(
            lambda: any(Path(plan.folder, "sgd").rglob("outcome.json")), "an outcome"
        )
        cluster.remove_node(cluster.head_node, allow_graceful=False)
        out, _ = driver.communicate(timeout=240)
        assert driver.returncode != 0, out
    assert any(s.verdict.state is not State.DONE for s in campaign.look_at_all())
    with three_nodes() as cluster:
        driver = start_driver(plan, "--engine", "ray", "--address", cluster.address)
        out, _ = driver.communicate(timeout=240)
        assert driver.returncode == 0, out
    assert {s.verdict.state for s in campaign.look_at_all()} == {State.DONE}


@pytest.mark.slow
def test_a_cluster_that_it_starts_is_private(make_plan, toy_everywhere, tmp_path):
    pytest.importorskip("ray")
    campaign = Campaign(make_plan(studies=1, trials=1))
    engine = RayEngine(EngineOptions(), campaign.folder)
    try:
        listening = [
            connection.laddr.ip
            for process in [
                psutil.Process(),
                *psutil.Process().children(recursive=True),
            ]
            for connection in connections_of(process)
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening
        assert set(listening) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    finally:
        engine.close()


def connections_of(process: psutil.Process) -> list:
    try:
        return process.net_connections("inet")
    except psutil.Error:
        return []
