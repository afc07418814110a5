"""Builds images and runs them: no network, a read-only root, a user that no image knows."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from image_engine import Engine, host_pip_settings, why_not

pytestmark = pytest.mark.slow

USER = 12345  # has no entry in the images' passwd
FRAMEWORKS = {
    "jax": "jax",
    "torch": "pytorch",
}  # FRAMEWORK of the build: name in algoperf
MAX_MEGABYTES = {"jax": 1_300, "torch": 1_600, "none": 300}
# What an image may have besides the base (buildah leaves an empty /etc/hosts), and what it may not.
OURS = (
    "/opt/venv",
    "/opt/algoperf",
    "/usr/bin/tini",
    "/data",
    "/experiments",
    "/etc/hosts",
)
UNWANTED = (
    "/.cache",
    "/pip/",
    "/bin/pip",
    "/bin/gcc",
    "/bin/g++",
    "/bin/cc",
    "/bin/make",
)


@dataclass(frozen=True)
class Image:
    """An image, and the folders that its containers see as /data and /experiments."""

    engine: Engine
    tag: str
    volumes: Path

    def command(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        mounts = {self.volumes / name: f"/{name}" for name in ("data", "experiments")}
        return self.engine.command(
            self.tag, arguments, user=f"{USER}:{USER}", volumes=mounts, options=options
        )

    def run(
        self, *arguments: str, options: Sequence[str] = ()
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments, options=options), capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    engine = Engine()
    try:
        engine.make_base()
        yield engine
    finally:
        engine.close()


Make = Callable[[str, str, str], Image]


@pytest.fixture(scope="module")
def make(engine: Engine) -> Iterator[Make]:
    """Builds an image; the one before is removed, so that the disk holds one at a time."""
    built: list[str] = []

    def build(tag: str, target: str, framework: str) -> Image:
        while built:
            engine.remove(built.pop())
        engine.build(tag, target, FRAMEWORK=framework, DEVICE="cpu", REVISION="abc")
        built.append(tag)
        volumes = engine.folder / f"volumes-{tag}"
        for name in ("data", "experiments"):
            (volumes / name).mkdir(parents=True)
            os.chown(volumes / name, USER, USER)
        engine.folder.chmod(0o755)
        return Image(engine, tag, volumes)

    yield build


@pytest.fixture(scope="module", params=FRAMEWORKS)
def image(request: pytest.FixtureRequest, make: Make) -> Image:
    return make(request.param, "runtime", request.param)


@pytest.fixture(scope="module")
def prepared(image: Image) -> Image:
    """The image with mnist_mini's data on its volume."""
    answer = image.run("prepare", "mnist_mini")
    assert answer.returncode == 0, answer.stderr
    return image


def _assert_small_and_clean(image: Image) -> None:
    megabytes = int(image.engine.inspect(image.tag, "{{.Size}}")) / 1e6
    print(f"{image.tag}: {megabytes:.0f} MB")
    assert megabytes <= MAX_MEGABYTES[image.tag]
    assert image.engine.images() == [f"localhost/{image.tag}"]  # no cache of the build
    added = image.engine.files(image.tag) - image.engine.files()
    assert not [path for path in added if not path.startswith(OURS)]
    assert not [path for path in added if any(part in path for part in UNWANTED)]
    assert not [path for path in added if "/tests/" in path]


def test_an_image_is_small_and_keeps_nothing_of_its_build(image: Image) -> None:
    _assert_small_and_clean(image)


def test_nothing_of_the_hosts_pip_is_left(image: Image) -> None:
    told = image.engine.inspect(image.tag, "{{json .Config}} {{json .History}}")
    for option in ("index-url", "extra-index-url", "find-links", "cert"):
        for value in host_pip_settings().get(option, "").split():
            assert value not in told


def test_an_image_says_what_it_is(image: Image) -> None:
    labels = json.loads(image.engine.inspect(image.tag, "{{json .Labels}}"))
    assert labels["algoperf.framework"] == image.tag
    assert labels["algoperf.device"] == "cpu"
    assert labels["org.opencontainers.image.revision"] == "abc"
    health = json.loads(image.engine.inspect(image.tag, "{{json .HealthCheck}}"))
    assert health["Test"] == ["CMD", "algoperf", "list"]
    assert image.engine.inspect(image.tag, "{{.User}}") == "10001:10001"


def test_without_arguments_it_lists_the_workloads(image: Image) -> None:
    answer = image.run()
    assert answer.returncode == 0, answer.stderr
    assert "mnist_mini" in answer.stdout and "ogbg" in answer.stdout


def test_the_check_of_its_health_passes(image: Image) -> None:
    options = ["--entrypoint=algoperf"]
    assert image.run("list", options=options).returncode == 0


def test_a_trial_of_the_demo_runs_and_its_files_belong_to_the_caller(
    prepared: Image,
) -> None:
    framework = FRAMEWORKS[prepared.tag]
    folder = "reference_algorithms/adamw"
    answer = prepared.run(
        *["run", f"{folder}/submission_{framework}.py", "--framework", framework],
        *["--workload", "mnist_mini", "--trials", "1", "--studies", "1"],
        *["--search-space", f"{folder}/tuning_search_space_mini.json"],
    )
    assert answer.returncode == 0, answer.stderr
    trial = (
        prepared.volumes / f"experiments/adamw/study_1/mnist_mini_{framework}/trial_1"
    )
    outcome = json.loads((trial / "outcome.json").read_text())
    assert outcome["outcome"] in ("reached", "not reached")
    owners = {
        (path.stat().st_uid, path.stat().st_gid) for path in prepared.volumes.rglob("*")
    }
    assert owners == {(USER, USER)}


def test_nadamw_mini_is_reproduced(prepared: Image) -> None:
    answer = prepared.run("reproduce", "nadamw-mini")
    print(answer.stdout)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert f"nadamw-mini, {FRAMEWORKS[prepared.tag]}: " in answer.stdout
    assert "Reproduced." in answer.stdout


def test_a_stopped_container_leaves_a_checkpoint(prepared: Image) -> None:
    framework = FRAMEWORKS[prepared.tag]
    folder = "reference_algorithms/heavy_ball"
    command = prepared.command(
        *["run", f"{folder}/submission_{framework}.py", "--framework", framework],
        *["--workload", "mnist_mini", "--trials", "1", "--studies", "1"],
        *["--search-space", f"{folder}/tuning_search_space_mini.json", "--seed", "1"],
    )
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    trial = f"experiments/heavy_ball/study_1/mnist_mini_{framework}/trial_1"
    measurements = prepared.volumes / trial / "eval_measurements.csv"
    deadline = time.monotonic() + 300
    while not measurements.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 75, printed.decode()
    assert list((prepared.volumes / trial / "checkpoints").glob("ckpt-*"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--volume=/usr/share:/experiments:ro", "cannot write to /experiments"),
        ("--env=MIN_FREE_MIB=999999999", "MiB are free in /experiments"),
        ("--env=TMPDIR=/usr", "needs --tmpfs /tmp"),
        ("--env=ALGOPERF_DEVICE=cuda", "--gpus all"),
    ],
)
def test_what_the_host_did_not_give_is_said_in_one_sentence(
    image: Image, option: str, message: str
) -> None:
    volumes = (
        {}
        if "/experiments" in option
        else {image.volumes / "experiments": "/experiments"}
    )
    command = image.engine.command(
        image.tag,
        ["run", "x.py"],
        user=f"{USER}:{USER}",
        volumes=volumes,
        options=[option],
    )
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2
    assert message in answer.stderr and "Traceback" not in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1


def test_the_core_alone_is_small_prepares_and_says_what_it_lacks(make: Make) -> None:
    image = make("none", "runtime", "none")
    _assert_small_and_clean(image)
    answer = image.run("prepare", "mnist_mini")
    assert answer.returncode == 0, answer.stderr
    answer = image.run("reproduce", "nadamw-mini")
    assert answer.returncode == 2
    assert "needs jax or pytorch, and neither is installed" in answer.stderr


def test_the_image_for_developers_runs_tests(make: Make) -> None:
    image = make("dev", "dev", "none")
    tests = ["tests/scoring/test_profiles.py", "tests/docker/test_docker_files.py"]
    answer = image.run("pytest", "-p", "no:cacheprovider", *tests)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert " passed" in answer.stdout
