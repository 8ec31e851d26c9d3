"""Replaces values that differ between runs and machines with stable tokens; all other values stay.

Equal values get equal tokens: a hash is named after its record or file, a run and a partial by number. A field that
measures something (a time, a size in memory, an inode) becomes the name of its type.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

from golden_calls import ROOT

MEASURED = frozenset(
    "seconds cpuSeconds maxRssBytes micros cpuMicros inode mtimeNs ts time began ended since pid launcher "
    "launcherStarted uid user host bootId checksum interpreter offpipe python system".split()
)  # fmt: skip
WORDED = frozenset(("what", "hint", "why", "fault"))
SPELLED = frozenset(("spec", "components"))  # canonical JSON in a string
FOUND = frozenset(("damage", "incomplete", "notes"))
WITHOUT_NAMES = frozenset(("marker", "forced", "key"))  # components of reasons whose `what` is prose
DRAWN_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")
PARTIAL = re.compile(r"\.partial-([0-9a-f]{6})\.")
HEX = re.compile(r"[0-9a-f]{64}")
PROGRAMS = ("sh", "sort", "sed", "cp", "true", "wc")


class Tokens:
    """Remembers which token stands for which value. `python` names the stages whose keys contain the interpreter."""

    def __init__(self, root: Path, python: frozenset[str]) -> None:
        self._names: dict[str, str] = {}
        self._specs: set[str] = set()
        self._python = python
        paths = {str(root): "<root>", str(root.parent): "<place>", str(ROOT): "<checkout>"}
        for program in PROGRAMS:
            location = Path(shutil.which(program, path="/usr/local/bin:/usr/bin:/bin") or program)
            for path in (location, location.parent.resolve() / program, location.resolve()):
                paths[str(path)] = f"<{program}>"
        for path in (Path(sys.executable).resolve(), sys.executable):
            paths[str(path)] = "<python>"
        self._longest_first = sorted(paths.items(), key=lambda item: -len(item[0]))

    def name(self, value: str, token: str) -> str:
        """The token of a value. A new value gets `token`, with a number if another value has it already."""
        if value not in self._names:
            same = sum(used == token or used.startswith(f"{token} #") for used in self._names.values())
            self._names[value] = f"{token} #{same + 1}" if same else token
        return f"<{self._names[value]}>"

    def learn(self, state: Path) -> None:
        """Name the hashes of a state directory's records and metrics, and its runs, in the order of the ledger."""
        ledger = state / "audit_ledger.jsonl"
        for record in records(ledger):
            self.text(record["run"])
        for path in (ledger, *sorted(state.glob("audit_*.jsonl"))):
            for record in records(path):
                self.name(record["hash"], f"hash {self.text(path.name)} {record['seq']}")
                if tag := record["data"].get("tag"):
                    self.name(tag, f"tag {record['data']['stage']}")
        for path in state.glob("metrics_*.json"):
            self.name(hashlib.sha256(path.read_bytes()).hexdigest(), f"sha256 {self.text(path.name)}")

    def text(self, text: str) -> str:
        """A text with its paths, runs and partials replaced, or the token of a hash."""
        if text in self._names and HEX.fullmatch(text):
            return f"<{self._names[text]}>"
        for path, token in self._longest_first:
            text = text.replace(path, token)
        text = PARTIAL.sub(lambda match: f".partial-{self.name(match[1], 'tag')}.", text)
        return DRAWN_RUN.sub(lambda match: self.name(match[0], "run"), text)

    def value(self, value: object, stage: str = "") -> object:
        """A JSON value with tokens; `stage` is the stage that a key in it belongs to."""
        if isinstance(value, dict):
            stage = value["stage"] if isinstance(value.get("stage"), str) else stage
            kept = {name: field for name, field in value.items() if name != "node"}  # on a cluster only
            shown = {self.text(name): self._field(name, field, stage) for name, field in kept.items()}
            return {**shown, "what": value["what"]} if value.get("component", "marker") not in WITHOUT_NAMES else shown
        if isinstance(value, list):
            if len(value) == 4 and isinstance(value[0], str) and value[0] in WITHOUT_NAMES:
                value = [value[0], "<words>", *value[2:]]
            return [self.value(part, stage) for part in value]
        return self.text(value) if isinstance(value, str) else value

    def _field(self, name: str, value: object, stage: str) -> object:
        if name == "argv" and "--cluster" in value:
            value = value[: value.index("--cluster")]  # these words are the last
        if name == "isolation" and value not in (None, "none", {"level": "none"}):
            return "<isolation>"
        if name in MEASURED and value is not None and not isinstance(value, (bool, dict, list)):
            return f"<{type(value).__name__}>"
        if name == "visibleNs" and isinstance(value, dict):  # by output
            return {output: f"<{type(inner).__name__}>" for output, inner in value.items()}
        if name == "stages" and isinstance(value, dict):
            return {stage_name: self.value(inner, stage_name) for stage_name, inner in value.items()}
        if name == "failed" and isinstance(value, dict):
            return dict.fromkeys(value, "<words>")
        if name in FOUND and isinstance(value, list):  # `verify` lists files in any order
            value = sorted(value, key=lambda remark: str(remark.get("file")))
        if name in ("by", "warnings") and isinstance(value, list):
            return ["<words>" if isinstance(part, str) and " " in part else self.value(part, stage) for part in value]
        return self._named(name, value, stage) if isinstance(value, str) else self.value(value, stage)

    def _named(self, name: str, value: str, stage: str) -> object:
        """The token of a field that is text."""
        if name in WORDED and value:
            return "<words>"
        if (name == "key" and stage in self._python) or name == "tag":
            return self.name(value, f"{name} {stage}")
        if name == "program" and value.startswith("python"):
            return "<python>"
        if name == "programSha256" or (name.startswith("offpipe:") and HEX.fullmatch(value)):
            return "<sha256>"
        return self._spelled(name, value, stage) if name in SPELLED else self.text(value)

    def _spelled(self, name: str, text: str, stage: str) -> object:
        """The value of a canonical JSON text, or the text if it is not canonical. Each spec is shown once."""
        parsed = json.loads(text)
        if canonical(parsed) != text.encode():
            return text
        if name == "spec" and text in self._specs:
            return "<as before>"
        self._specs.add(text)
        return self.value(parsed, stage)


def records(path: Path) -> list[dict]:
    """The whole records of an audit log or the ledger."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"}\n")]


def canonical(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")
