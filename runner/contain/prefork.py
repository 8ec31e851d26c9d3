"""The launch that is likely to be next: a Python stage whose process is forked while others work.

That gets as far as it can without opening anything of its stage's, and waits at a gate, the reading end of a pipe. When
its turn comes, and its program is still what it was, a byte opens the gate; else it is ended, and another one is
forked. A signal that comes while it waits ends it, and has no part in how the stage ends; unless its turn comes before
it is dead, some milliseconds at most: then its stage is told as ended by that, with an empty log.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os

from runner.contain.child import fork_stage
from runner.contain.script import looked_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal

    from runner.contain.child import Request
    from runner.contain.isolate import Isolation
    from runner.contain.tree import ProcessTree, SessionTree
    from runner.contain.zygote import Zygote
else:
    import _signal as signal  # `signal` itself builds enums, which costs a start of the launcher 3 ms


class Prefork:
    """The process that waits, if there is one: of one `request`, which is told by its identity."""

    def __init__(self, tree: ProcessTree | SessionTree, isolation: Isolation, zygote: Zygote | None) -> None:
        self._tree = tree
        self._isolation = isolation
        self._zygote = zygote
        self._waiting: _Waiting | None = None
        self.request: Request | None = None  # what was prepared last, and has not begun

    @property
    def processes(self) -> set[int]:
        """Return the process that waits, or none."""
        return set() if self._waiting is None else {self._waiting.pid}

    def prepare(self, request: Request) -> None:
        """Fork for this one and for no other, where a fork can be what it asks for. Raises Forked in the child."""
        self.dismiss()
        self.request = request
        if self._zygote is not None and self._zygote.takes(request):
            try:
                self._waiting = _Waiting(request, self._tree, self._isolation, self._zygote)
            except OSError:
                pass  # there is no descriptor or process for it now; when it is its turn that is told

    def begin(self, request: Request) -> tuple[int, int, int] | None:
        """Return what Starter.start does if a process has waited for this one, and works now."""
        if request is not self.request:
            return None
        self.request = None
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return None
        if not waiting.begin():
            waiting.end()
            return None
        return waiting.pid, self._tree.key(waiting.number, waiting.pid), waiting.report

    def reaped(self, pid: int) -> None:
        """To be called with every process that was waited for: it may be the one that waits, killed by somebody."""
        if self._waiting is not None and self._waiting.pid == pid:
            self._waiting.close()
            self._waiting = None

    def dismiss(self) -> bool:
        """End the process that waits, and return whether there was one."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.end()
        return waiting is not None


class _Waiting:
    """A process at its gate: `pid`, the `number` of its launch in the tree, and `report` as fork_stage returns it."""

    def __init__(self, request: Request, tree: ProcessTree | SessionTree, isolation: Isolation, zygote: Zygote) -> None:
        """Raises OSError when there is no descriptor or process; in the child Forked."""
        self._request = request
        gate, self._opens = os.pipe()
        self.number = tree.begin()
        try:
            self.pid, self.report = fork_stage(request, tree, self.number, isolation, zygote, gate)
        except OSError:
            os.close(self._opens)
            os.close(gate)
            raise
        os.close(gate)
        self._seen = zygote.seen  # kept here, since the next look at the same program changes it there

    def begin(self) -> bool:
        """Let it be the stage. False where its program is another one by now, or it is dead: it has to be ended."""
        assert self._request["script"] is not None
        if looked_at(os.fsdecode(self._request["script"])) != self._seen:
            return False
        try:
            os.write(self._opens, b"\n")
        except BrokenPipeError:
            return False
        os.close(self._opens)
        return True

    def end(self) -> None:
        """End it, and wait for that."""
        self.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def close(self) -> None:
        """Close our ends of its pipes."""
        os.close(self._opens)
        os.close(self.report)
