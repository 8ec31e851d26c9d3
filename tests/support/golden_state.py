"""The files on disk after a step of a story: names, modes, and the content of state files and records."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

from golden_tokens import Tokens, canonical

if TYPE_CHECKING:
    from pathlib import Path

CACHES = ("files.json", ".offpipe/")  # their content is not recorded
KINDS = {stat.S_IFDIR: "d", stat.S_IFREG: "-", stat.S_IFLNK: "l", stat.S_IFIFO: "p"}


class State:
    """Reads a story's directory after each step. Content that has not changed is not repeated."""

    def __init__(self, root: Path, tokens: Tokens) -> None:
        self._root = root
        self._tokens = tokens
        self._before: dict[str, bytes] = {}
        self._tree: list[str] = []

    def look(self) -> dict[str, object]:
        """Return the tree, and the state files that have changed since the last look."""
        for ledger in self._root.rglob("audit_ledger.jsonl"):
            self._tokens.learn(ledger.parent)
        paths = sorted(self._root.rglob("*"), key=self._name)
        tree = [f"{mode_of(path)} {self._name(path)}{self._size(path)}" for path in paths]
        now = {self._name(path): path.read_bytes() for path in paths if self._is_state(path)}
        changed = {
            name: self._content(name, content) for name, content in now.items() if content != self._before.get(name)
        }
        shown = "<as before>" if tree == self._tree else tree
        self._before, self._tree = now, tree
        return {"tree": shown, **({"files": changed} if changed else {})}

    def _name(self, path: Path) -> str:
        return self._tokens.text(str(path.relative_to(self._root)))

    def _is_state(self, path: Path) -> bool:
        name = self._name(path)
        kept = any(part in name for part in ("state/", "locks/", "progress_")) and not any(
            cache in name for cache in CACHES
        )
        return kept and path.is_file() and not path.is_symlink() and path.stat().st_size > 0

    def _size(self, path: Path) -> str:
        """Return the size of an input, output or stage log, or the target of a link."""
        if path.is_symlink():
            return f" -> {os.readlink(path)}"
        name = self._name(path)
        is_output = path.is_file() and not name.startswith(("state/", "locks/", ".offpipe/"))
        return f" ({path.stat().st_size})" if is_output or name.endswith(".log") else ""

    def _content(self, name: str, content: bytes) -> object:
        if name.endswith(".jsonl"):
            return self._records(name, content)
        try:
            value = json.loads(content)
        except ValueError:
            return self._tokens.text(content.decode("utf-8", "backslashreplace"))
        stage = name.rpartition("/")[2].removeprefix("progress_").removesuffix(".json")
        shown = self._tokens.value(value, stage)
        return shown if content.strip() == compact(value) else {f"<{spelling(content, value)}>": shown}

    def _records(self, name: str, content: bytes) -> list[object]:
        """Return the new records. A line that is not canonical JSON stays as it is."""
        old = self._before.get(name, b"")
        lines = content[len(old) if content.startswith(old) else 0 :].splitlines(keepends=True)
        records: list[object] = [] if content.startswith(old) else ["<from the beginning>"]
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            known = value is not None and canonical(value) + b"\n" == line
            records.append(
                self._tokens.value(value) if known else self._tokens.text(line.decode("utf-8", "backslashreplace"))
            )
        return records


def mode_of(path: Path) -> str:
    mode = path.lstat().st_mode
    return f"{KINDS.get(stat.S_IFMT(mode), '?')}{stat.S_IMODE(mode):04o}"


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def spelling(content: bytes, value: object) -> str:
    return "with spaces" if content == json.dumps(value).encode() else "spelled otherwise"
