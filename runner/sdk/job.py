"""A job: one pass over the lines or blocks of an input, with a checkpoint whenever one is due.

A checkpoint is taken when the loop requests the next line or block: then the stage has finished the last one.
"""

from __future__ import annotations

from io import BytesIO
from time import monotonic

from runner.errors import Fault, InputError, OffpipeError, UsageError
from runner.sdk.output import BUFFER_SIZE, Output
from runner.sdk.source import Source, end_of_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Generic, TypeVar

    from runner.sdk.checkpoints import Checkpoints

    Names = tuple[str, ...]
    Data = TypeVar("Data", bytes, str)
else:

    class Generic:
        """Stands in for typing.Generic, which takes longer to import than the whole SDK."""

        def __class_getitem__(cls, item: object) -> type:
            return cls

    Data = None

BLOCK_SIZE = 1024 * 1024
SMALLEST_READ = 256
NO_LIMIT = 1 << 62
_GZIP = b"\x1f\x8b"  # the first bytes of a gzip file (RFC 1952, 2.3.1)
USUAL_LINE = 80  # bytes; an estimate until the first block is read
NEARLY_ALL = 0.95  # of the lines allowed until the next checkpoint, so that few blocks have too many lines


class Job(Generic[Data]):
    """A pass over `paths`, used as `with ... as job: for data in job: job.write(...)`; one at a time in a stage.

    After a kill the same job resumes behind the last checkpoint. Data written before the loop is in the outputs
    already, and is not written twice. A finished job yields nothing and writes nothing. A job without outputs takes no
    checkpoint, so it reads its input again.
    """

    def __init__(
        self, checkpoints: Checkpoints, paths: Names, to: Names, encoding: str | None, errors: str, size: int | None
    ) -> None:
        """`size` is the approximate size of a block in bytes, None for a job over lines."""
        if encoding is not None:
            _check_encoding(encoding)
        if size is not None and size < 1:
            raise UsageError(Fault("", f"a block cannot have {size} bytes", "give a size of 1 or more"))
        self._checkpoints = checkpoints
        self._paths, self._to = paths, to
        self._by_line = size is None
        self._encoding, self._errors = encoding, errors
        self._kind: type = bytes if encoding is None else str
        self._most_lines = checkpoints.every_lines or NO_LIMIT
        self._most_seconds = checkpoints.every_seconds or float("inf")
        self._size = self._largest = size or BLOCK_SIZE
        self._line_length = float(USUAL_LINE)
        self._index = 0
        self._line_offset = self._byte_offset = 0  # of the start of the current block
        self._saved_line_offset = 0
        self._due = self._taken = 0.0
        self._block, self._block_lines = b"", 0  # the current block; b"" before the first and after the last
        self._rest: Iterator[bytes] = iter([])  # the lines of the current block still to be given out, or itself
        self._items: Iterator[bytes | str] | None = None  # for all loops: a second one continues
        self._outputs: dict[str, Output] = {}
        self._sole: Output | None = None  # the only output, while `write` may write to it
        self._over = self._writing = False
        self.resumed = False

    @property
    def line_offset(self) -> int:
        """The number, counted from 0, of the current line, or of the first line of the current block."""
        return self._line_offset + max(0, self._lines_given() - 1 if self._by_line else 0)

    def write(self, data: Data, to: str | None = None) -> None:
        """Write to the output `to`, required if the job has several; str in a job with an encoding, else bytes."""
        output = self._sole
        if output is None or to is not None or type(data) is not self._kind:
            self._write(data, to)
            return
        output.pieces.append(data)  # as in Output.write, inlined: the call would take a tenth of the loop's time
        output.pending += len(data)
        if output.pending >= BUFFER_SIZE:
            output.flush()

    def _write(self, data: Data, to: str | None) -> None:
        if type(data) is not self._kind:
            data = _as_kind(data, self._kind)  # type: ignore[assignment] # it has the job's type now
        if to is None and len(self._to) == 1:
            to = self._to[0]
        output = self._outputs.get(to or "")
        if output is None:
            what = f'does not write to "{to}"' if to else "has several outputs" if self._to else "has no output"
            hint = f"name one of: {', '.join(self._to)}" if self._to else "name it as `to` where the job begins"
            raise UsageError(Fault("job", what, hint))
        if self._writing:
            output.write(data)

    def checkpoint(self) -> None:
        """Take a checkpoint now; call it when the work on the current line or block is finished."""
        if self._writing:
            self._save(done=False)

    def __enter__(self) -> Job[Data]:
        self._index, reached = self._checkpoints.begin(keeps=bool(self._to))
        if reached is not None:
            self._over = self._index < reached["job"] or reached.get("done") is True
            self.resumed = True
            if self._index == reached["job"]:
                self._line_offset, self._byte_offset = reached["lineOffset"], reached["byteOffset"]
        self._items = self._read()
        try:
            self._open()
        except OffpipeError:
            self._checkpoints.end()  # in case the stage continues without this job
            raise
        return self

    def _open(self) -> None:
        self._outputs = {name: self._checkpoints.open_output(name) for name in self._to}
        for output in self._outputs.values():
            output.encoding, output.errors = self._encoding, self._errors
        self._writes(writing=not self.resumed)
        # The offset is right. If the input was edited since, the runner notices, and starts the stage again.
        self._source = Source(() if self._over else self._paths, self._byte_offset)
        self._start_interval(self._line_offset)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._source.close()
        self._checkpoints.end()
        if self._over:
            return
        self._writes(writing=False)
        code = error.code if isinstance(error, SystemExit) else error
        if code is None or (isinstance(code, int) and code == 0):  # the interpreter would exit with 0
            self._save(done=True)
        else:
            for output in self._outputs.values():  # as closing a file does, in case the stage continues
                output.flush()

    def __iter__(self) -> Iterator[Data]:
        if self._items is None:
            raise UsageError(Fault("job", "is read outside its block", "write `with stage.lines(...) as job:`"))
        return self._items  # type: ignore[return-value]  # Data is bytes exactly where there is no encoding

    def _read(self) -> Iterator[bytes | str]:
        """Yield the lines or blocks. Each line is decoded on its own: an encoded 0x0A may decode to something else."""
        while self._take():
            pieces = BytesIO(self._block).readlines() if self._by_line else [self._block]
            self._rest = iter(pieces)
            given: Iterator[bytes | str] = self._rest
            if self._encoding is not None:
                given = map(str, self._rest, [self._encoding] * len(pieces), [self._errors] * len(pieces))
            try:
                for data in given:
                    yield data
                    if monotonic() >= self._due:
                        self._save(done=False)
            except UnicodeDecodeError as error:
                raise self._undecodable(error) from error
            self._advance()

    def _take(self) -> bool:
        """Read the next block: at most the lines left in the interval, and small enough for its seconds."""
        self._writes(writing=not self._over)
        most = self._most_lines - (self._line_offset - self._saved_line_offset)
        size = min(self._size, max(SMALLEST_READ, int(self._line_length * most * NEARLY_ALL)))
        self._block, self._block_lines = self._source.read(size, most)
        self._taken = monotonic()
        return bool(self._block)

    def _advance(self) -> None:
        """Move behind the current block, whose work is finished."""
        length, lines = len(self._block), self._block_lines
        self._block, self._block_lines = b"", 0
        self._line_offset += lines
        self._byte_offset += length
        self._line_length = length / lines
        now = monotonic()
        if now - self._taken > self._most_seconds / 4:  # the next block must take less time
            self._size = max(1, int(length * self._most_seconds / 4 / (now - self._taken)))
        else:
            self._size = min(self._largest, 2 * self._size)
        left = self._most_lines - (self._line_offset - self._saved_line_offset)
        if left <= self._most_lines // 10:
            self._save(done=False)

    def _lines_given(self) -> int:
        """Return the number of lines of the current block that the stage got, including the current line."""
        return self._block_lines - self._rest.__length_hint__()  # type: ignore[attr-defined, no-any-return] # a list's

    def _writes(self, *, writing: bool) -> None:
        self._writing = writing
        self._sole = self._outputs[self._to[0]] if writing and len(self._to) == 1 else None

    def _save(self, *, done: bool) -> None:
        given = self._lines_given()
        line_offset = self._line_offset + given
        byte_offset = self._byte_offset + end_of_line(self._block, given)
        if self._to:
            self._checkpoints.save(self._index, line_offset, byte_offset, done=done)
        self._start_interval(line_offset)

    def _start_interval(self, line_offset: int) -> None:
        self._saved_line_offset = line_offset
        self._due = monotonic() + self._most_seconds

    def _undecodable(self, error: UnicodeDecodeError) -> InputError:
        before = end_of_line(self._block, self._lines_given() - 1) if self._by_line else 0
        at = self._source.offset - len(self._block) + before + error.start
        what = f"byte 0x{error.object[error.start]:02x} at offset {at} is not {self._encoding}"
        hint = 'pass errors="surrogateescape", or no encoding to get bytes'
        if at == 1 and error.object.startswith(_GZIP):
            hint = "it is compressed with gzip: unpack it in an earlier stage, or open it with gzip.open"
        return InputError(Fault(self._source.path, what, hint))


def _as_kind(data: object, kind: type) -> object:
    """Return `data` as exactly `kind`; a buffer that its owner may change is copied. TypeError for anything else."""
    if isinstance(data, kind) or (kind is bytes and isinstance(data, bytearray | memoryview)):
        return kind(data)
    expected = "bytes (it has no encoding)" if kind is bytes else "str (it has an encoding)"
    raise TypeError(f"this job writes {expected}, not {type(data).__name__}")


def _check_encoding(encoding: str) -> None:
    """Refuse unknown encodings, and those whose line end is not the byte 0x0A: lines would be cut in the middle."""
    try:
        fits = "\n".encode(encoding) == b"\n"
    except LookupError as error:
        raise UsageError(Fault(f'encoding "{encoding}"', "is not known to Python")) from error
    if not fits:
        what = "does not write a line end as the one byte 0x0A"
        raise UsageError(Fault(f'encoding "{encoding}"', what, "read bytes, or convert the input in an earlier stage"))
