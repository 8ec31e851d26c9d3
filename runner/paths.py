"""The names and places of all files on disk.

A leaf that the SDK loads, too: strings and `os.path` only, no `pathlib`.
"""

from __future__ import annotations

import os.path
import stat

OWN_DIRECTORY = ".offpipe"  # beside the spec, or below the workspace that a run is given
PARTIAL_PREFIX = ".partial-"
PARTIAL_TAG_LENGTH = 6
_TAG = slice(len(PARTIAL_PREFIX), len(PARTIAL_PREFIX) + PARTIAL_TAG_LENGTH)
_LONGEST_NAME, _LONGEST_INSTANCE = 100, 200
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HEX = frozenset("0123456789abcdef")
_NAME = _LETTERS | frozenset("._-")
_INSTANCE = _NAME | frozenset("@,%")
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class StatePaths:
    """The files of one pipeline's state and locks directory, both absolute.

    `temporary` is the directory for files that must not outlive a run. Recovery removes it.
    """

    def __init__(self, state_dir: str, locks_dir: str) -> None:
        self.state_dir = state_dir
        self.locks_dir = locks_dir
        self.ledger = f"{state_dir}/audit_ledger.jsonl"
        self.temporary = f"{state_dir}/tmp"
        self.digest_cache = f"{state_dir}/files.json"
        self.pipeline_lock = f"{locks_dir}/pipeline.lock"

    def marker(self, stage: str) -> str:
        return f"{self.state_dir}/stage_{stage}.json"

    def progress(self, stage: str, tag: str = "") -> str:
        """The progress file of a stage; with a `tag`, the one that a single attempt on a cluster writes."""
        return f"{self.temporary}/progress_{stage}~{tag}.json" if tag else f"{self.state_dir}/progress_{stage}.json"

    def audit(self, run: str) -> str:
        return f"{self.state_dir}/audit_{run}.jsonl"

    def metrics(self, run: str) -> str:
        return f"{self.state_dir}/metrics_{run}.json"

    def logs(self, run: str) -> str:
        return f"{self.state_dir}/logs/{run}"

    def log(self, run: str, stage: str, attempt: int) -> str:
        return f"{self.state_dir}/logs/{run}/{stage}.{attempt}.log"

    def run_temporary(self, run: str) -> str:
        """The directory of the TMPDIRs of stages; a stage file is `<TMPDIR>.json` beside one."""
        return f"{self.state_dir}/tmp/{run}"

    def stage_lock(self, stage: str) -> str:
        return f"{self.locks_dir}/{stage}.lock"


def stdout_path(log: str) -> str:
    """Return where a failed attempt's standard output is kept, if it went to an output: beside the attempt's `log`."""
    return f"{log.removesuffix('.log')}.stdout"


def kind_of(mode: int) -> str:
    """Return what a file of this `st_mode` is, in words: "a FIFO"."""
    return _KINDS.get(stat.S_IFMT(mode), "a file of an unknown kind")


def partial_tag(run: str, key: str, attempt: int) -> str:
    """Return the 6 hex digits in the names of an attempt's partials, which differ from those of other attempts.

    They depend on the stage's `key`, too: a state directory that is gone may have had a run of the same id.
    """
    from zlib import crc32

    return f"{crc32(f'{run}/{key}/{attempt}'.encode()) & 0xFFFFFF:06x}"


def partial_path(output: str, tag: str) -> str:
    """Return the partial beside `output`. It ends with the output's full name, because tools choose formats by it."""
    parent, slash, name = output.rstrip("/").rpartition("/")
    return f"{parent}{slash}{PARTIAL_PREFIX}{tag}.{name}"


def view_path(directory: str, tag: str, owner: str, stage: str) -> str:
    """Return the directory of a sealed attempt. `owner` and `stage` are hex digits: see record.views.

    It is named like the partial of a partial. So it is never that of an output, which must not be named like one.
    """
    return partial_path(f"{directory}/{PARTIAL_PREFIX}{owner}.{stage}", tag)


def is_view(name: str) -> bool:
    """Whether a file name is that of the directory of a sealed attempt."""
    return is_partial(name) and is_partial(output_of(name))


def output_of(partial: str) -> str:
    """Return the path of a partial's output."""
    parent, slash, name = partial.rpartition("/")
    return f"{parent}{slash}{name[_TAG.stop + 1 :]}"


def tag_of(partial: str) -> str:
    """Return the tag in the name of a partial: that of the attempt that wrote it."""
    return os.path.basename(partial)[_TAG]


def aside_path(partial: str) -> str:
    """Return where the old output is while `partial` replaces it: the path of a partial, so recovery can remove it."""
    parent, name = os.path.split(partial)
    return os.path.join(parent, f"{PARTIAL_PREFIX}{int(name[_TAG], 16) ^ 0xFFFFFF:06x}{name[_TAG.stop :]}")


def upward(path: str, top: str) -> list[str]:
    """Return the directory at `path` and those above it, up to and with `top`."""
    directories = [path]
    while path not in (top, "/", ""):
        path = os.path.dirname(path)
        directories.append(path)
    return directories


def is_partial(name: str) -> bool:
    """Whether a file name is that of a partial: `.partial-<6 hex>.NAME`."""
    return name.startswith(PARTIAL_PREFIX) and is_tag(name[_TAG]) and name[_TAG.stop : _TAG.stop + 1] == "."


def is_tag(value: object) -> bool:
    """Whether a value may be the tag in the name of a partial."""
    return isinstance(value, str) and len(value) == PARTIAL_TAG_LENGTH and _HEX.issuperset(value)


def is_name(value: object) -> bool:
    """Whether a value may be the name of a pipeline or a run, and so a part of a path."""
    return (
        isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value[0] in _LETTERS and _NAME.issuperset(value)
    )


def is_stage(value: object) -> bool:
    """Whether a value may be the name of a stage or an instance, such as `trim@a`."""
    if not isinstance(value, str) or len(value) > _LONGEST_INSTANCE:
        return False
    return is_name(value.partition("@")[0]) and _INSTANCE.issuperset(value)


def is_relative(value: object) -> bool:
    """Whether a value is a relative path without `..`."""
    return isinstance(value, str) and value[:1] not in ("", "/") and "\0" not in value and ".." not in value.split("/")


def variable_name(name: str) -> str:
    """Return an input's or output's name as in `PIPELINE_INPUT_<NAME>`: upper case, other characters become `_`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name).upper()
