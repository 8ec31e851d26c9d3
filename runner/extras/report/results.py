"""The results of a run: what the spec names as such, each with its proof.

A file is opened once, below the workspace and without following links. The bytes that are hashed are those that the
page shows, and it shows them only if their digest is the one on record.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from runner.display.text import counted, size
from runner.errors import InputError
from runner.extras.report.previews import LARGEST, NotShownError, Preview, preview_of
from runner.extras.report.tables import WORDS
from runner.plan.digests import DigestCache, FileDigest, digest_tree
from runner.results import SKIPPED
from runner.spec.globs import bare, compile_glob

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from runner.audit.findings import Markers
    from runner.extras.report.run_record import RunRecord
    from runner.plan.digests import TreeDigest
    from runner.record.markers import OutputIdentity
    from runner.spec.model import Spec, Stage

ROOM = 20_000_000  # bytes of all previews
MOST = 500  # results on the page


class Result(NamedTuple):
    """A result: what the spec says of it, the file as it is on record, and its preview, or `why` there is none.

    `run` made it; "" if no run is on record that did. `about` is what is known of a directory.
    """

    stage: str
    title: str
    caption: str
    group: str
    path: str
    size: int | None = None
    sha256: str = ""
    run: str = ""
    preview: Preview | None = None
    why: str = ""
    about: str = ""


class Results:
    """Finds the results of the run in `record`, whose spec is `spec`: with an empty workspace, nothing is read.

    `markers` are those of the state directory, which `verify` has checked. A run with nothing to do logs no keys: if it
    `is_newest`, all markers count. `default` is the status of stages that the log does not name.
    """

    def __init__(self, spec: Spec, record: RunRecord, markers: Markers, default: str, *, is_newest: bool) -> None:
        self._spec = spec
        self._record = record
        self._markers = markers
        self._latest = markers.outputs()
        self._default = default
        self._all_count = is_newest and record.has_no_work
        self._room = ROOM
        self.is_cut = False  # whether there are more than the page lists

    def by_group(self) -> dict[str, list[Result]]:
        """Return the results by group, in the order of stages and labels; those without a group first."""
        groups: dict[str, list[Result]] = {"": []}
        found = chain.from_iterable(map(self._of_stage, self._spec.stages))
        for result in islice(found, MOST):
            groups.setdefault(result.group, []).append(result)
        self.is_cut = next(found, None) is not None
        return {group: results for group, results in groups.items() if results}

    def _of_stage(self, stage: Stage) -> Iterator[Result]:
        for label, given in (stage.results or {}).items():
            path = stage.outputs[label]
            texts = given.get("title", path), given.get("caption", ""), given.get("group", "")
            made, run = self._on_record(stage, label)
            result = Result(stage.name, *texts, path)
            if made is None:
                yield result._replace(why=self._absence(stage.name))
            else:
                result = result._replace(size=made.size, sha256=made.sha256, run=made.run or run)
                yield from self._checked(result, made, given.get("files"))

    def _absence(self, stage: str) -> str:
        """Return why no output of a stage is on record."""
        status = self._record.status.get(stage, self._default)
        if status == SKIPPED:
            return "its stage was up to date, but its marker is another now"
        return f"this run did not make it: its stage is {WORDS[status][0]}"

    def _on_record(self, stage: Stage, label: str) -> tuple[OutputIdentity | None, str]:
        """Return an output of a stage as this run committed or found it, and the run of that commit."""
        if commit := self._record.commits.get(stage.name):
            return commit.outputs.get(label), self._record.run
        marker, made = self._latest.get(stage.outputs[label], (None, None))
        is_known = marker and (self._all_count or self._record.keys.get(stage.name) == marker.key)
        return (made, marker.run) if marker and is_known and marker.stage == stage.name else (None, "")

    def _checked(self, result: Result, made: OutputIdentity, pattern: str | None) -> Iterator[Result]:
        """Yield a result with its preview, or why there is none; of a directory with a `pattern`, each file of it."""
        if not self._spec.workspace:
            yield result._replace(why="its state directory is not where the record says")
            return
        try:
            with opened(self._spec.workspace, made.path) as place:
                if not made.path.endswith("/"):
                    reader = Reader([place])
                    self._require(result, reader.file(place).sha256)
                    yield self._shown(result, reader.contents.get(place))
                    return
                names = _matches(place, pattern)
                reader = Reader(self._fitting(place, names))
                tree = digest_tree(place, reader)
            self._require(result, tree.sha256)
            yield from self._of_directory(result, tree, reader, place, names if pattern else None)
        except NotShownError as error:
            yield result._replace(why=str(error))
        except InputError as error:
            yield result._replace(why=error.faults[0].what)
        except OSError as error:
            remover = self._markers.removed.get(made.path)
            gone = f"it is temporary, and the run {remover} removed it" if remover else "it is not there"
            is_missing = isinstance(error, FileNotFoundError)
            yield result._replace(why=gone if is_missing else f"it cannot be read: {error.strerror}")

    def _of_directory(
        self, result: Result, tree: TreeDigest, reader: Reader, place: str, names: Sequence[str] | None
    ) -> Iterator[Result]:
        entries = {path: (kind, length, sha256) for path, kind, _, length, sha256 in tree.listed}
        if names is None:
            yield result._replace(about=counted(sum(kind == "file" for kind, _, _ in entries.values()), "file"))
            return
        for name in filter(entries.__contains__, names):
            kind, length, sha256 = entries[name]
            title = f"{result.title}: {name}" if result.title != result.path else result.path + name
            each = result._replace(title=title, path=result.path + name)
            if kind == "link":
                yield each._replace(size=None, sha256="", why=f"it is a symbolic link to {sha256}")
            else:
                content = reader.contents.get(os.path.join(place, name))
                yield self._shown(each._replace(size=length, sha256=sha256), content)
        if not names:
            yield result._replace(why="no file in it matches")

    def _fitting(self, place: str, names: Sequence[str]) -> list[str]:
        """Return the paths of the files in a directory for which the page may have room."""
        fitting, room = [], self._room
        for path in (os.path.join(place, name) for name in names):
            length = os.lstat(path).st_size
            if length <= min(LARGEST, room):
                room -= length
                fitting.append(path)
        return fitting

    def _require(self, result: Result, sha256: str) -> None:
        """Raise NotShownError unless this is the digest of a result on record."""
        if sha256 == result.sha256:
            return
        marker, made = self._latest.get(result.path, (None, None))
        run = made.run or marker.run if made and marker else ""
        if made and made.sha256 == sha256 and run != result.run:
            raise NotShownError(f"what is there was made by the run {run}")
        raise NotShownError("it was changed after the run: what is there has another digest")

    def _shown(self, result: Result, content: bytes | None) -> Result:
        """Return a result with the preview of a content that is its own; None if there is no room for it."""
        if content is None and (result.size or 0) > LARGEST:
            return result._replace(why=f"it is larger than {size(LARGEST)}")
        try:
            preview = None if content is None else preview_of(result.path, content)
        except NotShownError as error:
            return result._replace(why=str(error))
        if preview is None or preview.room > self._room:
            return result._replace(why=f"the page has no more room: all results may take {size(ROOM)}")
        self._room -= preview.room
        return result._replace(preview=preview)


class Reader(DigestCache):
    """Reads files without following links. Keeps the `contents` of those that are `wanted`, unless they are large."""

    def __init__(self, wanted: Container[str]) -> None:
        super().__init__(trust=False)
        self.contents: dict[str, bytes] = {}
        self._wanted = wanted

    def file(self, path: str, status: os.stat_result | None = None, *, reads: bool = True) -> FileDigest:
        """Return the digest of a regular file. Raises InputError for any other, without opening it, and OSError."""
        length = (status or os.lstat(path)).st_size
        chunks: list[bytes] | None = [] if path in self._wanted and length <= LARGEST else None
        found = self._hash(path, chunks, is_kept=False, reads=reads)
        if chunks is not None:
            self.contents[path] = b"".join(chunks)
        return found


@contextmanager
def opened(workspace: str, path: str) -> Iterator[str]:
    """Yield a path for what is at `path` below a workspace, which no link leads to.

    Its directories are held open, so nobody can put a link in their place. Raises OSError; NotShownError for a link.
    """
    names = path.rstrip("/").split("/")
    if not {"", ".", ".."}.isdisjoint(names):
        raise FileNotFoundError(path)
    directory = os.open(workspace, os.O_PATH | os.O_DIRECTORY)
    try:
        for name in names if path.endswith("/") else names[:-1]:
            if os.path.islink(f"/proc/self/fd/{directory}/{name}"):
                raise NotShownError(f'"{name}" in its path is a symbolic link')
            below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = below
        yield f"/proc/self/fd/{directory}" + ("" if path.endswith("/") else f"/{names[-1]}")
    finally:
        os.close(directory)


def _matches(place: str, pattern: str | None) -> list[str]:
    """Return the first paths below a directory that match a glob, sorted: one more than the page lists."""
    if pattern is None:
        return []
    match = compile_glob(bare(pattern)).match
    below = (os.path.join(top, name) for top, _, names in os.walk(place) for name in names)
    return sorted(filter(match, (path[len(place) + 1 :] for path in below)))[: MOST + 1]
