"""What a result was measured on: hardware, versions, code. Every trial's logs record it."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

import algoperf
from algoperf.frameworks import FRAMEWORKS
from algoperf.loading.source import Source
from algoperf.trial_meta import Host

_PACKAGES = ("numpy", *(p for f in FRAMEWORKS.values() for p in f.versions_of))


def host() -> Host:
    """This machine, without its devices, which are the backend's to describe."""
    return Host(
        cpu=cpu_model(),
        cores=os.cpu_count(),
        memory_bytes=psutil.virtual_memory().total,
        system=platform.platform(),
    )


def versions() -> dict[str, str]:
    """Versions of the benchmark, of Python and of the packages that compute."""
    own = {
        "algoperf": algoperf.__version__,
        "python": platform.python_version(),
    }
    return own | _package_versions()


def commit() -> str:
    """The commit of the code, `-dirty` if files differ from it; `unknown` outside git.

    An image without git says in the variable ALGOPERF_COMMIT what it was built from.
    """
    # A virtual environment may lie inside the repository of another project.
    if not _git("ls-files", "--error-unmatch", "__init__.py"):
        return os.environ.get("ALGOPERF_COMMIT") or "unknown"
    described = _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return described or "unknown"


def _git(*arguments: str) -> str:
    """What git says of the folder of the code; nothing where it fails."""
    folder = Path(algoperf.__file__).parent
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def code_digest(submission_path: Path) -> str:
    """Checksum of a submission's code: all Python files in its folder, and those it imports."""
    folder = submission_path.parent
    digest = hashlib.sha256()
    for path in sorted({*folder.rglob("*.py"), *Source(submission_path).files()}):
        name = os.path.relpath(path, folder)
        digest.update(os.fsencode(name) + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _package_versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
