"""A Python stage that is likely to be next, forked while others work.

Its process gets as far as it can without anything that shows: it opens nothing of the stage's, and waits at a gate.
When its turn comes, and its program is still what it was, the gate is opened; else it is ended, and another one is
forked. A signal that comes while it waits ends it, and has no part in how the stage ends.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import select

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


class Preforked:
    """One such process: `pid`, the `number` of its launch in the tree, and `report` as fork_stage returns it."""

    def __init__(self, request: Request, tree: ProcessTree | SessionTree, isolation: Isolation, zygote: Zygote) -> None:
        """Raises OSError when there is no descriptor or process; in the child Forked."""
        self.request = request
        self._gate, self._opens = os.pipe()
        self.number = tree.begin()
        try:
            self.pid, self.report = fork_stage(request, tree, self.number, isolation, zygote, self._gate)
        except OSError:
            os.close(self._gate)
            os.close(self._opens)
            raise
        self._program = zygote.program

    def begin(self) -> bool:
        """Let it be the stage. False where its program is another one by now: then it has to be ended."""
        script, seen = self._program
        if looked_at(script) != seen:
            return False
        os.write(self._opens, b"\n")
        os.close(self._opens)
        return True

    def has_begun(self) -> bool:
        """Whether it came through the gate; to be asked once, when it has ended. Else it was killed just before."""
        poll = select.poll()
        poll.register(self._gate, select.POLLIN)
        waits = any(event & select.POLLIN for _, event in poll.poll(0))
        os.close(self._gate)
        return not waits

    def end(self, *, is_there: bool = True) -> None:
        """End it, and wait for that; where it has ended by itself, and was waited for, it is not there."""
        for descriptor in (self._opens, self._gate, self.report):
            os.close(descriptor)
        if is_there:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
