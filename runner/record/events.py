"""The events in the records of logs and ledger. Those that are read have a type here, are encoded, decoded and checked.

Any process that can write to the state directory can append records with the right hashes. So `decode` checks every
field that readers act on or use in a path. Any other field has the value in the record, or None.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import END, SIGNED, START, digest, parsed
from runner.paths import is_name, is_relative, is_stage, is_tag
from runner.record.markers import Marker, OutputIdentity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Check = Callable[[object], bool]

RESUMED, STOPPED, RECOVERED, WARNING = "run.resumed", "run.stopped", "recovered", "run.warning"
COMMIT, ADOPTED, SKIPPED, FINISHED = "stage.commit", "stage.adopted", "stage.skipped", "stage.finished"
REMOVED, EXPANDED = "outputs.removed", "run.expanded"
ATTEMPT_STARTED, ATTEMPT_FINISHED, NETWORK = "attempt.started", "attempt.finished", "offline.attempt"
OPENINGS, ENDINGS = (START, RESUMED), (STOPPED, END)  # these begin and end a part of a run
OPENED, CLOSED, NOOP, ENDED = "opened", "closed", "noop", "ended"  # of the ledger
SUPERSEDED, PRUNED = "superseded", "pruned"  # of the ledger


class RunOpened(NamedTuple):
    """A run begins or resumes. These are the fields that readers need; `engine.journal` writes more."""

    stages: Sequence[str] | None  # those named on the command line
    ledger_head: str
    spec: str | None
    spec_sha256: str
    spec_in: str | None


class RunExpanded(NamedTuple):
    """The instances of templates are known by now: the effective spec as JSON text, and its digest."""

    spec: str
    spec_sha256: str


class RunEnded(NamedTuple):
    """A run stops, or succeeds; this seals the log up to here. `stages`: the number of stages of each status."""

    status: str
    stages: Mapping[str, int]
    metrics_sha256: str
    records: int
    outputs: int
    outputs_sha256: str


class RunWarning(NamedTuple):
    """A warning, with the fields of a fault."""

    where: str
    what: str
    hint: str


class AttemptStarted(NamedTuple):
    """An attempt starts; `tag` is part of the names of its partials. `outputs`: name -> path.

    `cpus`: those that it got, if the spec has more. `position`: of its values in the lists of the spec, if that is not
    0. Then `replaces` is the commit whose marker a commit would replace, as in StageCommit. `sealed`: whether it has a
    view, if the spec wants one; `seen_as`: where its outputs are in it, if that is elsewhere.
    """

    stage: str
    attempt: int
    key: str
    tag: str
    program: str
    outputs: Mapping[str, str]
    delay_micros: int
    reasons: list[list[object]]
    enforced: Mapping[str, object]
    resumed_from: Mapping[str, object] | None = None  # the checkpoint, if any (see `checkpoints.Progress`)
    cpus: float | None = None
    position: int | None = None
    replaces: Sequence[Any] | None = None
    sealed: bool | None = None
    seen_as: Mapping[str, str] | None = None


class AttemptFinished(NamedTuple):
    """An attempt ended; `results.AttemptResult` has the other fields."""

    stage: str


class NetworkAttempt(NamedTuple):
    """A program of a stage tried to use a network; `action`, `fail` or `record`, is the consequence for the stage."""

    stage: str
    attempt: int
    program: str
    family: str
    count: int  # type: ignore[assignment] # hides the method of tuples
    action: str


class StageCommit(NamedTuple):
    """The redo record of a stage: enough to publish its outputs and to write its marker.

    `components` is JSON as text, because it may hold floats. `replaces`: the commit of the old marker, [run, record].
    `former`: see `Marker`; None for none. In `stage.adopted`, `adopts` is the commit that the stage took over from a
    stage that is gone: [stage, run, record]. `program_sha256`: of the program that was started; None if unreadable.
    `program_version`: what the program said.
    """

    stage: str
    key: str
    key_version: int
    components: str
    tag: str
    program: str
    outputs: Mapping[str, OutputIdentity]
    reasons: list[list[object]]
    replaces: Sequence[Any] | None
    former: Sequence[OutputIdentity] | None = None
    adopts: Sequence[Any] | None = None
    program_sha256: str | None = None
    program_version: str | None = None

    def marker(self, run: str, seq: int) -> Marker:
        """Return the marker that this commit stands for, as record `seq` of `run`."""
        components, outputs, former = parsed(self.components.encode()), dict(self.outputs), tuple(self.former or ())
        own = self.stage, self.key, self.key_version, components, outputs, run, seq, self.reasons
        return Marker(*own, former, self.program_version)


class OutputsRemoved(NamedTuple):
    """Temporary outputs are about to be removed. `commit`: theirs, [run, record]. `outputs`: name -> path."""

    stage: str
    commit: Sequence[Any]
    outputs: Mapping[str, str]
    size: int


class StageSkipped(NamedTuple):
    """A stage is up to date."""

    stage: str
    key: str


class StageFinished(NamedTuple):
    """A stage ended without a commit."""

    stage: str
    status: str
    why: str


class LedgerEntry(NamedTuple):
    """A line of the ledger. `open`: the runs that have not succeeded; `log_seq` and `log_hash`: a record of a log.

    `part` counts the invocations that worked on the run, up to this one. `invocation` is in the line that ends one (see
    `runner.record.invocation`). `by`: the run that did the work of a superseded run. `runs` were pruned, and
    `commits` has the commits in their logs that markers refer to: stage -> [run, record, digest of the marker].
    `removed` has the temporary outputs of such markers that they removed: path -> [stage, run, record, remover].
    `Seal.entry` adds the id of the key that signs the line.
    """

    pipeline: str
    open: Sequence[str]
    key_id: str | None
    log_seq: int | None = None
    log_hash: str | None = None
    part: int | None = None
    invocation: Mapping[str, Any] | None = None
    by: str | None = None
    runs: Sequence[str] | None = None
    commits: Mapping[str, Sequence[Any]] | None = None
    removed: Mapping[str, Sequence[Any]] | None = None


Event = (
    RunOpened
    | RunExpanded
    | RunEnded
    | RunWarning
    | AttemptStarted
    | AttemptFinished
    | NetworkAttempt
    | StageCommit
    | OutputsRemoved
    | StageSkipped
    | StageFinished
    | LedgerEntry
)
_TYPES: dict[str, type[Event]] = {
    START: RunOpened,
    RESUMED: RunOpened,
    EXPANDED: RunExpanded,
    STOPPED: RunEnded,
    END: RunEnded,
    WARNING: RunWarning,
    ATTEMPT_STARTED: AttemptStarted,
    ATTEMPT_FINISHED: AttemptFinished,
    NETWORK: NetworkAttempt,
    COMMIT: StageCommit,
    ADOPTED: StageCommit,
    REMOVED: OutputsRemoved,
    SKIPPED: StageSkipped,
    FINISHED: StageFinished,
    **dict.fromkeys((OPENED, CLOSED, NOOP, ENDED, SUPERSEDED, PRUNED, SIGNED), LedgerEntry),
}


def member_name(field: str) -> str:
    """Return the name of a field in JSON: `audit_seq` as `auditSeq`."""
    first, *others = field.split("_")
    return first + "".join(map(str.capitalize, others))


_NAMES = {kind: tuple(map(member_name, kind._fields)) for kind in _TYPES.values()}


def encode(event: Event) -> dict[str, object]:
    """Return the payload of an event's record, without optional fields that are None."""
    payload: dict[str, object] = {
        name: value
        for name, field, value in zip(_NAMES[type(event)], event._fields, event, strict=True)
        if value is not None or field not in event._field_defaults
    }
    if isinstance(event, StageCommit):
        payload["outputs"] = {name: identity.as_record() for name, identity in event.outputs.items()}
        if event.former is not None:
            payload["former"] = [identity.as_record() for identity in event.former]
    return payload


def decode(event: str, data: Mapping[str, Any]) -> Event | None:
    """Return an event from its name and payload; None for an unknown name, ValueError for another shape."""
    kind = _TYPES.get(event)
    if kind is None:
        return None
    if name := _misshapen(_CHECKS.get(kind, {}), data):
        raise ValueError(f"{event}: {name}")
    decoded = kind._make(map(data.get, _NAMES[kind]))
    if isinstance(decoded, StageCommit):
        outputs = {name: OutputIdentity.from_json(value) for name, value in data["outputs"].items()}
        former = decoded.former and tuple(map(OutputIdentity.from_json, data["former"]))
        decoded = decoded._replace(outputs=outputs, former=former)
    return decoded


def is_ledger_entry(event: str, data: Mapping[str, Any]) -> bool:
    """Whether event and payload are those of a line of the ledger."""
    return _TYPES.get(event) is LedgerEntry and _misshapen(_CHECKS[LedgerEntry], data) is None


def _misshapen(checks: Mapping[str, Check], data: Mapping[str, Any]) -> str | None:
    """Return the name of the first field that has another shape."""
    return next((name for name, is_sound in checks.items() if not is_sound(data.get(name))), None)


class CommittedOutputs:
    """The outputs in the commits of one log; the last record of the log holds their number and digest."""

    def __init__(self) -> None:
        self._outputs: dict[str, dict[str, str]] = {}

    def note(self, commit: StageCommit) -> None:
        """Add a commit."""
        self._outputs.pop(commit.stage, None)  # so that the newest commit of a path comes last
        self._outputs[commit.stage] = {output.path: output.sha256 for output in commit.outputs.values()}

    def totals(self) -> tuple[int, str]:
        """Return the number of outputs, and the SHA-256 of the canonical JSON of {path: sha256}."""
        made = {path: sha256 for outputs in self._outputs.values() for path, sha256 in outputs.items()}
        return len(made), digest(made)


# ---- checks of fields ------------------------------------------------------------------------------------------------


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_invocation(value: object) -> bool:
    return isinstance(value, dict) and _misshapen(_INVOCATION, value) is None


def _list_of(is_sound: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(is_sound, value))


def _object_of(is_sound: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(is_sound, value.values()))


def _row_of(*checks: Check) -> Check:
    return lambda value: (
        isinstance(value, list)
        and len(value) == len(checks)
        and all(is_sound(member) for is_sound, member in zip(checks, value, strict=True))
    )


def _if_any(is_sound: Check) -> Check:
    return lambda value: value is None or is_sound(value)


def _is_object(text: object) -> bool:
    with suppress(ValueError, RecursionError):
        return isinstance(text, str) and isinstance(parsed(text.encode()), dict)
    return False


def _is_output(value: Any) -> bool:  # noqa: ANN401 - JSON
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        return is_relative(OutputIdentity.from_json(value).path)
    return False


_is_commit = _if_any(_row_of(is_name, _is_number))  # run, record
_INVOCATION: dict[str, Check] = {
    "began": _is_text,
    "exitCode": _is_number,
    "fault": _if_any(_is_text),
    "stages": _object_of(_is_number),
    "verb": _is_text,
    "warnings": _list_of(_is_text),
}
_CHECKS: dict[type[Event], dict[str, Check]] = {
    RunOpened: {"stages": _if_any(_list_of(_is_text))},  # they may be patterns
    RunExpanded: {"spec": _is_text, "specSha256": _is_text},
    AttemptStarted: {
        "stage": is_stage,
        "attempt": _is_number,
        "outputs": _object_of(is_relative),
        "position": _if_any(_is_number),
        "replaces": _is_commit,
        "sealed": _if_any(_is_truth),
        "seenAs": _if_any(_object_of(is_relative)),
    },
    AttemptFinished: {"stage": is_stage},
    NetworkAttempt: {"count": _is_number, **dict.fromkeys(("stage", "program", "family", "action"), _is_text)},
    StageCommit: {
        "stage": is_stage,
        "key": _is_text,
        "keyVersion": _is_number,
        "components": _is_object,
        "tag": is_tag,
        "outputs": _object_of(_is_output),
        "reasons": lambda value: isinstance(value, list),
        "replaces": _is_commit,
        "former": _if_any(_list_of(_is_output)),
        "programVersion": _if_any(_is_text),
    },
    OutputsRemoved: {
        "stage": is_stage,
        "commit": _row_of(is_name, _is_number),
        "outputs": _object_of(is_relative),
        "size": _is_number,
    },
    StageFinished: dict.fromkeys(("stage", "status", "why"), _is_text),
    LedgerEntry: {
        "pipeline": _is_text,
        "open": _list_of(is_name),
        "part": _if_any(_is_number),
        "invocation": _if_any(_is_invocation),
        "by": _if_any(is_name),
        "runs": _if_any(_list_of(is_name)),
        "commits": _if_any(_object_of(_row_of(is_name, _is_number, _is_text))),  # run, record, digest of the marker
        "removed": _if_any(_object_of(_row_of(is_stage, is_name, _is_number, is_name))),  # the last: the remover
        "signer": _if_any(_is_text),
    },
}
