"""What docker/ says must fit the checkout: constraints, copied files, build arguments."""

import importlib.util
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import image_engine
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SCRIPTS = sorted(DOCKER.glob("*.sh"))
EXTRAS = {
    "none": [],
    "jax": ["jax", "data"],
    "torch": ["torch", "data"],
    "both": ["jax", "torch", "data"],
    "cuda": ["jax", "torch", "data"],
}


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docker_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


requirements = _load(DOCKER / "requirements.py")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _pins(name: str) -> dict[str, str]:
    lines = (DOCKER / f"constraints-{name}.txt").read_text().splitlines()
    pins = (line.split("==") for line in lines if not line.startswith("#"))
    return dict(pins)


# Constraints


@pytest.mark.parametrize("name", EXTRAS)
def test_constraints_pin_all_that_the_project_asks_for(name: str) -> None:
    pins = _pins(name)
    for line in requirements.requirements(PROJECT, [*EXTRAS[name], "dev"]):
        wanted = Requirement(line)
        pinned = pins[re.sub(r"[-_.]+", "-", wanted.name).lower()]
        assert wanted.specifier.contains(pinned, prereleases=True), line


@pytest.mark.parametrize("name", EXTRAS)
def test_constraints_name_versions_and_nothing_else(name: str) -> None:
    for package, version in _pins(name).items():
        assert re.fullmatch(r"[a-z0-9-]+", package)
        Version(version)


def test_the_frameworks_stay_apart_and_the_device_decides_the_build() -> None:
    assert "torch" not in _pins("jax") and "jax" not in _pins("torch")
    assert {"torch", "jax"} <= _pins("both").keys()
    for name in ("torch", "both"):
        assert _pins(name)["torch"].endswith("+cpu")
        assert not [package for package in _pins(name) if package.startswith("nvidia")]
    assert "+" not in _pins("cuda")["torch"]
    assert [package for package in _pins("cuda") if package.startswith("nvidia")]


def test_all_files_pin_the_torch_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (version,) = set(re.findall(r"torch==([\d.]+)", makefile))
    for name in ("torch", "both", "cuda"):
        assert _pins(name)["torch"].split("+")[0] == version
    assert f"torch={version} " in (DOCKER / "constraints.sh").read_text()


def test_an_extra_that_names_the_project_is_replaced() -> None:
    project = {
        "name": "thing",
        "dependencies": ["a>=1"],
        "optional-dependencies": {"x": ["b", "a>=1"], "y": ["thing[x]", "c"]},
    }
    assert requirements.requirements(project, ["y"]) == ["a>=1", "b", "c"]
    with pytest.raises(SystemExit, match="no extra named z"):
        requirements.requirements(project, ["z"])


# The Dockerfile and its kin


def test_the_dockerfile_takes_the_documented_arguments() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    for argument in ("BASE", "FRAMEWORK", "DEVICE", "PACKAGES", "REVISION"):
        assert re.search(rf"^ARG {argument}=", text, re.MULTILINE), argument
        assert re.search(rf"^# {argument} ", text, re.MULTILINE), argument
    assert re.findall(r"^FROM .* AS (\w+)$", text, re.MULTILINE)[-2:] == [
        "dev",
        "runtime",
    ]
    assert text.index("install.sh dependencies") < text.index("COPY algoperf")


def test_an_image_gets_every_wing_of_the_checkout() -> None:
    """Also the template that `algoperf new` copies; of submissions, it alone."""
    wings = {
        link.readlink().as_posix().removeprefix("../")
        for link in (ROOT / "algoperf").iterdir()
        if link.is_symlink()
    }
    dockerfile = (DOCKER / "Dockerfile").read_text()
    apptainer = (DOCKER / "algoperf.def").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in {*wings, "algoperf", "docker"}:
        top = name.partition("/")[0]
        assert f"COPY {top} {top}\n" in dockerfile
        assert f"    {name} /opt/algoperf/{name}\n" in apptainer
        assert f"!{name}" in ignored


def test_copied_files_exist() -> None:
    copies = re.findall(
        r"^COPY (?!--from)(.*)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE
    )
    for line in copies:
        for source in line.split()[:-1]:
            assert source == "." or list(ROOT.glob(source)), source


def test_compose_builds_what_the_dockerfile_offers() -> None:
    yaml = pytest.importorskip("yaml")
    content = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert set(content["services"]) == {"demo", "prepare", "gpu"}
    for name, service in content["services"].items():
        assert service["read_only"] and service["tmpfs"] == ["/tmp"]
        assert service["build"]["target"] == "runtime"
        device = "cuda" if name == "gpu" else "cpu"
        assert service["build"]["args"]["DEVICE"] == device
        volumes = [volume.rsplit(":", 1)[1] for volume in service["volumes"]]
        assert volumes == ["/data", "/experiments"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_plain_sh_and_can_be_started(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\n")
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="shellcheck is not installed"
)
def test_shellcheck_finds_nothing() -> None:
    subprocess.run(["shellcheck", *map(str, SCRIPTS)], check=True)


# install.sh refuses what the Dockerfile's arguments may not be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tensorflow", "cpu"], "it must be jax, torch, both or none"),
        (["jax", "tpu"], "it must be cpu or cuda"),
        (["none", "cuda"], "DEVICE=cuda needs a FRAMEWORK"),
    ],
)
def test_wrong_build_arguments_end_the_build(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    for file in [
        DOCKER / "requirements.py",
        ROOT / "pyproject.toml",
        *DOCKER.glob("constraints-*"),
    ]:
        shutil.copy(file, tmp_path)
    script = tmp_path / "install.sh"
    script.write_text(
        (DOCKER / "install.sh").read_text().replace("build=/build", f"build={tmp_path}")
    )
    answer = subprocess.run(
        ["sh", str(script), "dependencies", *arguments, ""],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2
    assert message in answer.stderr


# What a build of the slow tests gets from the host


def test_folders_of_packages_are_mounted_where_they_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "index" / "simple").mkdir(parents=True)
    settings = {
        "find-links": f"{tmp_path}/wheels https://example.org/wheels",
        "extra-index-url": f"file://{tmp_path}/index/simple",
        "cert": "/my/bundle.crt",
        "constraint": "/my/constraints.txt",
    }
    inside, mounts = image_engine.settings_for_build(settings)
    assert mounts == {
        "/my/bundle.crt": "/etc/ssl/certs/ca-certificates.crt",
        f"{tmp_path}/index": "/mnt",
        f"{tmp_path}/wheels": "/media",
    }
    assert inside == {
        "cert": "/etc/ssl/certs/ca-certificates.crt",
        "extra-index-url": "file:///mnt/simple",
        "find-links": "file:///media\nhttps://example.org/wheels",
    }


def test_what_a_killed_run_left_is_removed_and_what_another_one_uses_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "algoperf-images-99999999-abc" / "store").mkdir(parents=True)
    (tmp_path / "algoperf-images-1-abc").mkdir()
    image_engine.remove_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == ["algoperf-images-1-abc"]
