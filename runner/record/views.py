"""The directory of a sealed attempt, which its view shows in place of root, and in which its outputs lie until it ends.

An output on another file system is in a directory of its own beside the real output, because no file can be renamed
from one file system to another. When an attempt has ended, or recovery finds that its run has died, its outputs and its
checkpoint are moved to where those of other attempts are, and its directories go.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import Fault, OfflineError
from runner.hashing import sha256_of
from runner.paths import PARTIAL_TAG_LENGTH, is_view, output_of, partial_path, tag_of, upward, view_path
from runner.record import files
from runner.record.checkpoints import collect, partials_in
from runner.record.removal import open_directory
from runner.record.state import MOST_PROGRESS, no_note, read_usable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.paths import StatePaths


_STAGE_DIGITS = 16  # of a stage's digest in the name of a view: two attempts of one run may have the same tag


class View:
    """The directories of the attempt with this `tag`, and where its outputs and its progress file are in them.

    `seen`: the outputs' paths in the view, relative to root. `root` is shown in place of root and workspace, and
    `state`, relative to it, in place of the state directory. `others` are directories on other file systems, by the
    relative path at which the view shows them.
    """

    def __init__(
        self,
        workspace: str,
        paths: StatePaths,
        stage: str,
        outputs: Mapping[str, str],
        seen_as: Mapping[str, str],
        tag: str,
    ) -> None:
        """`outputs` and `seen_as`, name -> path relative to root: where they are in the end, and in the view."""
        self._paths, self._stage, self._tag = paths, stage, tag
        self._real = {name: f"{workspace}/{path}".rstrip("/") for name, path in outputs.items()}
        self.seen_as = {name: path for name, path in seen_as.items() if name in outputs}
        self.seen = {name: seen_as.get(name, path).rstrip("/") for name, path in outputs.items()}
        parents = {name: os.path.dirname(path) for name, path in self._real.items()}
        mounts = {parent: _mount_of(parent) for parent in {*parents.values(), workspace}}
        # A log has the outputs in another order than the spec, so that must not matter here.
        is_there = mounts[workspace] in [mounts[parent] for parent in parents.values()]
        top = workspace if is_there else min(parents.values())
        identity = _owner(workspace, paths), sha256_of(stage.encode())[:_STAGE_DIGITS]
        self.root = view_path(top, tag, *identity)
        self.others: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        for name, path in self.seen.items():
            directory, base = os.path.split(path)
            if mounts[parents[name]] == mounts[top]:
                self.outputs[name] = f"{self.root}/{path}"
            else:
                self.others[directory] = own = view_path(parents[name], tag, *identity)
                self.outputs[name] = f"{own}/{base}"
        self.state = os.path.relpath(paths.state_dir, workspace)
        state = self._place(self.state)
        self.progress = f"{state}/{os.path.basename(paths.progress(stage))}"
        self.sent_progress = f"{state}/{os.path.basename(paths.progress(stage, tag))}"  # on a cluster

    def _place(self, path: str) -> str:
        """Return where on disk a path of the view is: in one of the `others` if it lies below that."""
        above = [directory for directory in self.others if path.startswith(f"{directory}/" if directory else "")]
        if not above:
            return f"{self.root}/{path}"
        directory = max(above, key=len)
        return f"{self.others[directory]}/{path[len(directory) :].removeprefix('/')}"

    def make(self) -> None:
        """Make the directories. Raises OfflineError if outputs in one directory would be on several file systems.

        Removes what a power cut left of an attempt with this tag, whose record it took.
        """
        for directory, own in self.others.items():
            inside = f"{directory}/" if directory else ""
            for name, path in self.seen.items():
                if path.startswith(inside) and os.path.dirname(self.outputs[name]) != own:
                    what = f'cannot be sealed: "{path}" and others in one directory are on several file systems'
                    raise OfflineError(
                        Fault(f"stage {self._stage}, output {name}", what, "give it a directory of its own")
                    )
        for directory in (*self.others.values(), self.root):
            files.discard(directory)
        for path in (*self.outputs.values(), self.progress):
            files.make_directories(os.path.dirname(path))

    def begin(self) -> None:
        """Give the attempt what a checkpoint has kept: partials first, because the progress file vouches for them."""
        for name, path in self.outputs.items():
            _move(partial_path(self._real[name], self._tag), path)
        _copy(self._paths.progress(self._stage), self.progress)
        files.discard(self._paths.progress(self._stage))

    def end(self) -> None:
        """Undo `begin`, and remove the directories. May be called again, also if there are none.

        An output whose directory was removed is lost, as it would be without a view.
        """
        if not any(map(os.path.lexists, (self.root, *self.others.values()))):
            return
        for name, path in self.outputs.items():
            if os.path.isdir(os.path.dirname(self._real[name])) and self._is_reached(path):
                _move(path, partial_path(self._real[name], self._tag))
        progress = self._paths.progress(self._stage)
        if self._is_reached(self.progress):
            _copy(self.progress, progress)
        if self._is_reached(self.sent_progress):
            collect(self.sent_progress, progress, self._tag)
        for directory in (*self.others.values(), self.root):
            files.discard(directory)

    def _is_reached(self, path: str) -> bool:
        """Whether only directories lead to a path: the stage may have put a link there, which leads anywhere.

        Opens directories that the stage has closed to us.
        """
        base = next(base for base in (*self.others.values(), self.root) if path.startswith(f"{base}/"))
        with files.naming(path, "reach"), suppress(FileNotFoundError, NotADirectoryError):
            for directory in reversed(upward(os.path.dirname(path), base)):
                os.close(open_directory(directory))
            return True
        return False


def views_in(workspace: str, paths: StatePaths) -> list[str]:
    """Return the directories of a pipeline's sealed attempts in the workspace.

    A power cut may leave some that no log knows, because the record of a start is not synced.
    """
    owner = _owner(workspace, paths)
    names = (name for name in partials_in(workspace, {}) if is_view(name))
    return [f"{workspace}/{name}" for name in names if tag_of(output_of(name)) == owner]


def _owner(workspace: str, paths: StatePaths) -> str:
    """Return what tells the views of a pipeline from those of others in its workspace: no two have one state directory.

    It is in the view's name, which no stage can choose. A pipeline that is moved as a whole keeps it.
    """
    return sha256_of(os.fsencode(os.path.relpath(paths.state_dir, workspace)))[:PARTIAL_TAG_LENGTH]


def state_in(view: str, workspace: str, paths: StatePaths) -> str:
    """Return what the directory of a sealed attempt shows as the state directory."""
    return f"{view}/{os.path.relpath(paths.state_dir, workspace)}"


def _move(path: str, target: str) -> None:
    if os.path.lexists(path):
        files.move(path, target)


def _copy(progress: str, target: str) -> None:
    """Copy a progress file, which may be on another file system, unless it is missing or unusable."""
    content = read_usable(progress, MOST_PROGRESS, no_note)
    if content is not None:
        files.replace(target, content, temporary=f"{target}~")


def _mount_of(directory: str) -> tuple[int, bytes]:
    """Return what identifies the file system and the mount of a directory, or of the nearest one above it."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    with files.naming(directory, "open"):
        descriptor = os.open(directory, os.O_PATH | os.O_CLOEXEC)
        try:
            with open(f"/proc/self/fdinfo/{descriptor}", "rb") as file:  # proc(5): mnt_id
                return os.fstat(descriptor).st_dev, next(line for line in file if line.startswith(b"mnt_id"))
        finally:
            os.close(descriptor)
