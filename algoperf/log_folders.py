"""Where the trials of an experiment lie: finds their folders, and says what it passes over.

`<submission>[/study_<i>]/<workload>_<framework>/trial_<k>`; submissions may be in folders of any
depth. A folder inside a submission never is another one, and hidden folders, copies and
backups never count. Links are followed, and a folder that is reached twice counts once.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from algoperf.errors import BadLogs

_WORKLOAD_FOLDER = re.compile(r"(?P<workload>.+)_(?P<framework>[a-z]+)", re.DOTALL)
_STUDY_FOLDER = re.compile(r"study_([0-9]+)")
_TRIAL_FOLDER = re.compile(r"trial_([0-9]+)")

# What a campaign keeps beside the logs: no trial lies in it.
CAMPAIGN_FOLDER = ".campaign"

# A study that was renamed, which must not be ranked as a submission.
_ODD_STUDY = re.compile(r"study[ _.-]?[0-9].*", re.IGNORECASE | re.DOTALL)

_LONGEST_LINK = 1_024  # bytes

_SYSTEM_FOLDERS = {"__MACOSX", "lost+found", "@eaDir", "System Volume Information"}
_COPY_WORD = "copy|kopie|copie|copia|kopia|backup|bak"
_BACKUP = re.compile(
    rf".*(~|\.({_COPY_WORD}|old|orig|tmp|temp|save|saved|sav|part|swp)([\W_]?[0-9]+)*)"  # x.bak
    rf"|.* [({{\[][^)}}\]]*({_COPY_WORD})[^)}}\]]*[)}}\]]"  # x (copy), x (another copy 2)
    r"|.* \([0-9]+\)"  # x (1)
    rf"|.* -? ?({_COPY_WORD})( [0-9]+| \([0-9]+\))?"  # x - Copy (2), x copy 2
    rf"|({_COPY_WORD})( \([0-9]+\))? (of|von|de|di) .*"  # Copy of x
    r"|[#$].*",
    re.IGNORECASE | re.DOTALL,
)
# Also a plausible name of a submission: a copy only where the original lies beside it.
_PERHAPS_COPY = re.compile(
    rf"(?P<original>.+?)[ _.-]?({_COPY_WORD})[ _.-]?[0-9]*", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class TrialId:
    """Which trial: unique within a set of results."""

    submission: str
    study: int
    workload: str
    framework: str
    trial: int

    def folder(self, experiments: Path) -> Path:
        """Where its logs lie under the folder that holds all submissions' folders."""
        return (
            experiments
            / self.submission
            / f"study_{self.study}"
            / f"{self.workload}_{self.framework}"
            / f"trial_{self.trial}"
        )


@dataclass
class TrialFolders:
    """What lies below a folder: trials in sorted order, and what was passed over."""

    trials: list[tuple[TrialId, Path]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # a phrase for each folder


def find_trials(directory: Path) -> TrialFolders:
    """All trials below a folder of submissions, a submission, a study or a workload.

    BadLogs for a folder that cannot be read and for links that lead in a circle.
    """
    try:
        root = os.path.realpath(directory)
    except OSError as error:  # the current folder is gone
        raise BadLogs(f"{directory} cannot be read: {error.strerror}.") from None
    if not os.path.isdir(root):
        return TrialFolders()  # removed under a live view
    search = _Search(root)
    above, name = os.path.split(root)
    study = _STUDY_FOLDER.fullmatch(os.path.basename(above))
    if search.is_workload(root):
        submission = os.path.dirname(above) if study else above
        search.workload(
            root, os.path.basename(submission), int(study[1]) if study else 1
        )
    elif (own := _STUDY_FOLDER.fullmatch(name)) and search.is_submission(root):
        search.study(root, os.path.basename(above), int(own[1]))
    else:
        search.anywhere(root)
    search.found.trials.sort(key=lambda item: os.fspath(item[1]))
    return search.found


class _Search:
    """One walk; every folder is listed once."""

    def __init__(self, root: str) -> None:
        self.found = TrialFolders()
        self._root = root
        self._listed: dict[str, list[str]] = {}
        status = os.stat(root)
        self._reached = {(status.st_dev, status.st_ino): root}

    def anywhere(self, folder: str) -> None:
        """Looks for submissions in `folder`, or takes it for one."""
        if self.is_submission(folder):
            self.submission(folder)
            return
        for path in self._folders(folder):
            if _ODD_STUDY.fullmatch(os.path.basename(path)) and self._holds_workloads(
                path
            ):
                self._leave_out(path, "is no submission, and no study_<i> of one")
            else:
                self._noting_nothing(path, self.anywhere)

    def _noting_nothing(self, path: str, walk: Callable[[str], None]) -> None:
        """Walks through a folder, and notes it if there was nothing to find or to note."""
        before = len(self.found.trials), len(self.found.left_out)
        walk(path)
        if before == (len(self.found.trials), len(self.found.left_out)):
            self._leave_out(path, "holds no trial")

    def submission(self, folder: str) -> None:
        """Takes the studies of a submission; in their stead there may be workloads."""
        name = os.path.basename(folder)
        for path in self._folders(folder):
            if match := _STUDY_FOLDER.fullmatch(os.path.basename(path)):
                study = int(match[1])
                self._noting_nothing(
                    path, partial(self.study, submission=name, study=study)
                )
            elif self.is_workload(path):
                self.workload(path, name, 1)
            else:
                self._leave_out(path, "is inside a submission and is no study")

    def study(self, folder: str, submission: str, study: int) -> None:
        """Takes the workloads of a study."""
        names = {os.path.basename(path) for path in self._folders(folder)}
        for path in self._folders(folder):
            original = os.path.basename(path).rpartition("_")[0]
            if original in names:
                self._leave_out(path, f"looks like a copy of {original}")
            elif self.is_workload(path):
                self.workload(path, submission, study)
            elif _WORKLOAD_FOLDER.fullmatch(os.path.basename(path)):
                self._leave_out(path, "holds no trial")
            else:
                self._leave_out(path, "is inside a study and is no workload")

    def workload(self, folder: str, submission: str, study: int) -> None:
        """Takes the trials of a workload."""
        match = _WORKLOAD_FOLDER.fullmatch(os.path.basename(folder))
        assert match is not None
        for path in self._folders(folder):
            trial = _TRIAL_FOLDER.fullmatch(os.path.basename(path))
            if not trial:
                self._leave_out(path, "is no trial")
                continue
            identity = TrialId(
                submission, study, match["workload"], match["framework"], int(trial[1])
            )
            self.found.trials.append((identity, Path(path)))

    def is_submission(self, folder: str) -> bool:
        """Whether studies or workloads lie right in it."""
        return self._holds_workloads(folder) or any(
            _STUDY_FOLDER.fullmatch(os.path.basename(path))
            and self._holds_workloads(path)
            for path in self._folders(folder)
        )

    def _holds_workloads(self, folder: str) -> bool:
        return any(self.is_workload(path) for path in self._folders(folder))

    def is_workload(self, folder: str) -> bool:
        """Whether it is named for a workload and a framework, and holds trials."""
        if not _WORKLOAD_FOLDER.fullmatch(os.path.basename(folder)):
            return False
        inner = map(os.path.basename, self._folders(folder))
        return any(_TRIAL_FOLDER.fullmatch(name) for name in inner)

    def _leave_out(self, path: str, why: str) -> None:
        self.found.left_out.append(f"{os.path.relpath(path, self._root)} {why}")

    def _folders(self, parent: str) -> list[str]:
        """Paths of the folders that may count, sorted; links among them are resolved later."""
        if parent not in self._listed:
            self._listed[parent] = []  # a folder cannot be its own child
            self._listed[parent] = self._list(parent)
        return self._listed[parent]

    def _list(self, parent: str) -> list[str]:
        try:
            with os.scandir(parent) as entries:
                # Real folders first: a link to one of them is the one that is left out.
                found = sorted(entries, key=lambda e: (e.is_symlink(), e.name))
                folders = [e for e in found if self._is_folder(e)]
                names = {entry.name for entry in folders}
                kept = [e for e in folders if self._may_count(e, names)]
        except FileNotFoundError:
            return []  # removed meanwhile, as with --overwrite under a live view
        except OSError as error:
            raise BadLogs(f"{parent} cannot be read: {error.strerror}.") from None
        return sorted(entry.path for entry in kept)

    def _is_folder(self, entry: "os.DirEntry[str]") -> bool:
        try:
            if entry.is_dir():
                return True
            if entry.is_symlink() and not os.path.exists(entry.path):
                self._leave_out(entry.path, "is a link to nothing")
            elif target := _link_as_text(entry):
                why = f"is a file that names the folder {target}; make it a link"
                self._leave_out(entry.path, why)
        except OSError as error:
            raise BadLogs(
                f"{entry.path} is a link that cannot be followed: {error.strerror}. "
                "Remove it."
            ) from None
        return False

    def _may_count(self, entry: "os.DirEntry[str]", names: set[str]) -> bool:
        """Not hidden, no copy, and not reached before; BadLogs for a circle of links."""
        if entry.name == CAMPAIGN_FOLDER:
            return False
        if why := _why_left_out(entry.name, names):
            self._leave_out(entry.path, why)
            return False
        if entry.is_symlink():
            self._refuse_link_above(entry.path)
        status = entry.stat()
        first = self._reached.setdefault((status.st_dev, status.st_ino), entry.path)
        if first == entry.path:
            return True
        if entry.path.startswith(os.path.join(first, "")):
            raise _loop(entry.path, first)
        original = os.path.relpath(first, self._root)
        self._leave_out(entry.path, f"is the same folder as {original}")
        return False

    def _refuse_link_above(self, link: str) -> None:
        """The walk would go through everything beside the logs before it came round."""
        target, holder = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
        if os.path.join(holder, "").startswith(os.path.join(target, "")):
            raise _loop(link, target)


def _loop(link: str, folder: str) -> BadLogs:
    return BadLogs(f"{link} leads back to {folder}: a loop of links. Remove the link.")


def _link_as_text(entry: "os.DirEntry[str]") -> str:
    """The folder that a file names, as git writes links where it may make none; or empty."""
    if not entry.is_file() or entry.stat().st_size > _LONGEST_LINK:
        return ""
    with open(entry.path, "rb") as file:
        text = os.fsdecode(file.read())
    is_path = "/" in text and not set("\0\n") & set(text)
    folder = os.path.join(os.path.dirname(entry.path), text)
    return text if is_path and os.path.isdir(folder) else ""


def _why_left_out(name: str, siblings: set[str]) -> str:
    """Empty for a folder that may count."""
    if name.startswith(".") or name in _SYSTEM_FOLDERS:
        return "is hidden"
    if _BACKUP.fullmatch(name):
        return "is named like a copy or a backup"
    match = _PERHAPS_COPY.fullmatch(name)
    if match and match["original"] in siblings:
        return f"looks like a copy of {match['original']}"
    return ""
