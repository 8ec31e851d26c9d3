"""How a stage is started: the quickest way that fits it.

A Python stage is a fork of the launcher (zygote) where that is warm; in one that is not, a program is started without a
fork (spawn) where that can be had and goes well. All else is a fork that executes the program (child).

Loaded by the launcher program only.
"""

from __future__ import annotations

from runner.contain.child import fork_stage
from runner.contain.prefork import Preforked
from runner.contain.spawn import Spawner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runner.contain.child import Request
    from runner.contain.isolate import Isolation
    from runner.contain.tag import Tags
    from runner.contain.tree import ProcessTree, SessionTree
    from runner.contain.zygote import Zygote


class Starter:
    """Starts the stages of one launcher."""

    def __init__(
        self, tree: ProcessTree | SessionTree, tags: Tags | None, isolation: Isolation, zygote: Zygote | None
    ) -> None:
        self._zygote = zygote
        self._tree = tree
        self._isolation = isolation
        # A warm launcher, whose forks are to be new interpreters, has no threads.
        can_spawn = tree.takes_all and zygote is None
        self._spawner = Spawner(tree, tags, isolation) if tags is not None and can_spawn else None
        self._base: dict[bytes, bytes] = {}  # the last that came
        self._preforked: Preforked | None = None  # of `prepared`
        self._begun: dict[int, Preforked] = {}  # by process, until that has ended
        self.prepared: Any = None  # the request of what is likely to be started next

    def load(self, modules: list[str], *, settle: bool) -> None:
        """Have a warm launcher load what stages will import; `settle`: these are all."""
        if self._zygote is not None:
            self._zygote.load(modules)
            if settle:
                self._zygote.settle()

    def completed(self, request: Request) -> Request:
        """To be called with each request, as they come: return it with the base of its environment."""
        self._base = request.setdefault("base", self._base)
        return request

    def prepare(self, request: Request) -> None:
        """Take in what is likely to be started next, and begin with it where that does not show.

        Raises Forked in the child of a zygote.
        """
        self.dismiss()
        self.prepared = self.completed(request)
        if self._zygote is not None and self._zygote.takes(request):
            try:
                self._preforked = Preforked(request, self._tree, self._isolation, self._zygote)
            except OSError:
                pass  # whoever starts it will be told

    def start(self, request: Request) -> tuple[int, int, int | None]:
        """Start one stage; returns its process, its key and, where that may still fail, what fork_stage does.

        Raises OSError when there is no descriptor or process, and in the child of a zygote Forked.
        """
        if request is self.prepared:
            self.prepared = None
            preforked, self._preforked = self._preforked, None
            if preforked is not None:
                if preforked.begin():
                    self._begun[preforked.pid] = preforked
                    return preforked.pid, self._tree.key(preforked.number, preforked.pid), preforked.report
                preforked.end()
        if self._spawner is not None and (spawned := self._spawner.spawn(request)) is not None:
            return *spawned, None
        zygote = self._zygote
        if zygote is not None and not zygote.takes(request):
            zygote = None
        number = self._tree.begin()
        pid, report = fork_stage(request, self._tree, number, self._isolation, zygote)
        return pid, self._tree.key(number, pid), report

    @property
    def waiting(self) -> set[int]:
        """Return the process that waits for its stage's turn, if there is one."""
        return set() if self._preforked is None else {self._preforked.pid}

    def ended(self, pid: int) -> Request | None:
        """To be called when a process was waited for; returns what to start anew, if it was killed before it began."""
        if self._preforked is not None and self._preforked.pid == pid:
            self._preforked.end(is_there=False)
            self._preforked = None
        begun = self._begun.pop(pid, None)
        return None if begun is None or begun.has_begun() else begun.request

    def dismiss(self) -> None:
        """End the process that waits for its stage's turn, if there is one."""
        if self._preforked is not None:
            self._preforked.end()
            self._preforked = None

    def over(self, key: int) -> None:
        """To be called when nothing is left of a launch, by its key in the tree."""
        if self._spawner is not None:
            self._spawner.over(key)
