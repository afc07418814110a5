"""Builds images with buildah and runs them with podman, without a daemon or an image registry.

What the host's pip is set up with (an index, a CA bundle, folders of wheels) reaches a build
through mounts and a secret, so that nothing of it is left in an image.
"""

import ast
import configparser
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
PROGRAMS = ("buildah", "podman", "mmdebstrap", "unshare")
FREE_GIB = 12  # the largest image, while it is built, takes half of it
_PREFIX = "algoperf-images-"
_BASE = "localhost/base"
_PIP_INDEXES = ("index-url", "extra-index-url", "find-links")
_PIP_OPTIONS = ("cert", "no-index", "proxy", "timeout", "trusted-host", *_PIP_INDEXES)
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # in every Debian with ca-certificates
# Folders that Debian has, empty: mounting there leaves no folder behind in an image.
_EMPTY_FOLDERS = ("/mnt", "/media", "/srv", "/home", "/boot")
# What Debian's slim images leave out.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
# crun knows no mixture of the two versions of cgroups; a private view shows it version 2 alone.
_PRIVATE_CGROUPS = (
    "mount --make-rprivate / && umount -R /sys/fs/cgroup && "
    'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
)


def why_not() -> str:
    """Why images cannot be built here; empty if they can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "building images without a daemon needs root"
    free = shutil.disk_usage(_parent()).free / 2**30
    if free < FREE_GIB:
        return f"{free:.0f} GiB are free in {_parent()}; {FREE_GIB} are needed"
    return ""


def _parent() -> Path:
    """Where the engine's folder lies: on a disk, which /tmp need not be."""
    return Path(os.environ.get("TMPDIR", "/var/tmp"))


class Engine:
    """A store of images in a temporary folder. `close` removes all of it."""

    def __init__(self) -> None:
        remove_leftovers()
        self.folder = Path(
            tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_parent())
        )
        self._store = [
            "--root",
            str(self.folder / "store"),
            "--runroot",
            str(self.folder / "run"),
        ]

    def close(self) -> None:
        """Unmounts and removes everything."""
        _remove(self.folder)

    def buildah(self, *arguments: str) -> str:
        """Runs buildah on this store; its output."""
        return _output(
            ["buildah", *self._store, *arguments],
            env=os.environ | {"BUILDAH_ISOLATION": "chroot"},
        )

    def make_base(self) -> None:
        """Makes the image that stands for the default BASE, from Debian's packages."""
        context = self.folder / "base"
        context.mkdir()
        _output(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                "--include=python3,python3-venv,ca-certificates",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
                "bookworm",
                str(context / "rootfs.tar"),
            ]
        )
        (context / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
        self.buildah("bud", "--tag", _BASE, str(context))
        shutil.rmtree(context)

    def build(self, tag: str, target: str, **arguments: str) -> None:
        """Builds docker/Dockerfile. arguments: build arguments, by name."""
        secret = self.folder / "pip.conf"
        settings, mounts = settings_for_build(host_pip_settings())
        with secret.open("w") as file:
            config = configparser.RawConfigParser()
            config["global"] = settings
            config.write(file)
        options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        options += [f"--volume={host}:{inside}:ro" for host, inside in mounts.items()]
        self.buildah(
            "bud",
            "--format=docker",  # has health checks
            f"--file={ROOT / 'docker' / 'Dockerfile'}",
            f"--target={target}",
            f"--build-arg=BASE={_BASE}",
            f"--secret=id=pip.conf,src={secret}",
            *options,
            f"--tag=localhost/{tag}",
            str(ROOT),
        )

    def remove(self, tag: str) -> None:
        """Removes an image."""
        self.buildah("rmi", f"localhost/{tag}")

    def images(self) -> list[str]:
        """Names of all images but the base; `<none>` for what a build left behind."""
        listed = self.buildah("images", "--all", "--format", "{{.Name}}").split()
        return [name for name in listed if name != _BASE]

    def inspect(self, tag: str, template: str) -> str:
        """A field of an image's description, such as `{{.Size}}`."""
        arguments = ["image", "inspect", "--format", template, f"localhost/{tag}"]
        return _output(["podman", *self._store, *arguments]).strip()

    def files(self, tag: str | None = None) -> set[str]:
        """Paths of all files and folders of an image; by default of the base."""
        name = _BASE if tag is None else f"localhost/{tag}"
        container = self.buildah("from", "--pull-never", name).strip()
        try:
            root = Path(self.buildah("mount", container).strip())
            return {f"/{path.relative_to(root)}" for path in _walk(root)}
        finally:
            self.buildah("rm", container)

    def command(
        self,
        tag: str,
        arguments: Sequence[str],
        *,
        user: str,
        volumes: Mapping[Path, str],
        options: Sequence[str] = (),
    ) -> list[str]:
        """The command line that runs an image: no network, read-only root, an unknown user."""
        wrapper = []
        if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
            wrapper = ["unshare", "--mount", "sh", "-c", _PRIVATE_CGROUPS, "sh"]
        return [
            *(
                "nice",
                "-n",
                "-10",
            ),  # trials have budgets in seconds, and the machine other work
            *wrapper,
            "podman",
            *self._store,
            "--cgroup-manager=cgroupfs",
            "run",
            "--rm",
            "--cgroups=disabled",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=4096:4096",
            "--no-healthcheck",  # which podman leaves to systemd
            "--passwd=false",
            "--network=none",
            "--read-only",
            "--tmpfs=/tmp",
            # Two threads that wait for each other stand still on a machine that is busy otherwise.
            "--env=OMP_NUM_THREADS=1",
            f"--user={user}",
            *(f"--volume={host}:{inside}" for host, inside in volumes.items()),
            *options,
            f"localhost/{tag}",
            *arguments,
        ]


def host_pip_settings() -> dict[str, str]:
    """What `pip config list` says of this host, options by name; variables win over files."""
    listed = _output(["python3", "-m", "pip", "config", "list"])
    pairs = (line.split("=", 1) for line in listed.splitlines() if "=" in line)
    # Keys are `global.cert` and, for variables, `:env:.cert`.
    found = sorted((key.startswith(":env:"), key, value) for key, value in pairs)
    return {key.rpartition(".")[2]: ast.literal_eval(value) for _, key, value in found}


def settings_for_build(
    settings: Mapping[str, str],
) -> tuple[dict[str, str], dict[str, str]]:
    """pip's settings for inside a build, and the mounts they need: host path -> path inside."""
    wanted = {k: v for k, v in settings.items() if k in _PIP_OPTIONS}
    mounts: dict[str, str] = {}
    bundle = wanted.get("cert") or os.environ.get("SSL_CERT_FILE")
    if bundle:
        mounts[bundle] = _BUNDLE
        wanted["cert"] = _BUNDLE
    free = iter(_EMPTY_FOLDERS)
    for option in _PIP_INDEXES:
        places = []
        for place in wanted.get(option, "").split():
            folder = Path(urlsplit(place).path)
            if urlsplit(place).scheme in ("", "file") and folder.is_dir():
                # The pages of an index, in `simple`, link to files beside it.
                top = folder.parent if folder.name == "simple" else folder
                if str(top) not in mounts:
                    mounts[str(top)] = next(free)
                place = f"file://{Path(mounts[str(top)], folder.relative_to(top))}"
            places.append(place)
        if places:
            wanted[option] = "\n".join(places)
    return wanted, mounts


def _output(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Standard output of a command; the end of what it printed, if it fails."""
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    if result.returncode != 0:
        printed = f"{result.stdout[-3000:]}\n{result.stderr[-5000:]}"
        raise RuntimeError(
            f"{' '.join(command)} ended with {result.returncode}:\n{printed}"
        )
    return result.stdout


def _walk(root: Path) -> list[Path]:
    return [
        Path(folder, name)
        for folder, *lists in os.walk(root)
        for names in lists
        for name in names
    ]


def remove_leftovers() -> None:
    """Removes folders of engines whose process was killed before it could do so."""
    for folder in _parent().glob(f"{_PREFIX}*"):
        process = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", process).exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    """Removes a folder after unmounting what is mounted below it, and nothing if that fails."""
    mounts = [
        line.split()[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
    ]
    for mount in sorted(
        (m for m in mounts if m.startswith(f"{folder}/")), reverse=True
    ):
        _output(["umount", mount])
    shutil.rmtree(folder)
