"""How a stage is started: the quickest way that fits it.

A Python stage is a fork of the launcher (zygote) where that is warm, made beforehand for the next one (prefork); in one
that is not, a program is started without a fork (spawn) where that can be had and goes well. All else is a fork that
executes the program (child).

Loaded by the launcher program only.
"""

from __future__ import annotations

from runner.contain.child import fork_stage
from runner.contain.prefork import Prefork
from runner.contain.spawn import Spawner
from runner.levels import KERNEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.contain.child import Request
    from runner.contain.farewell import Farewells
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
        self.prefork = Prefork(tree, isolation, zygote)
        self._base: dict[bytes, bytes] = {}  # the last that came

    def let_bid_farewell(self) -> Farewells | None:
        """Let stages bid farewell from now on, where they can: at a lower level a FIFO would be that of others.

        Returns what tells of them, or None.
        """
        if self._zygote is None or self._isolation.layers["level"] != KERNEL:
            return None
        from runner.contain.farewell import open_farewells  # a cold launcher can do without

        self._zygote.farewells = open_farewells()
        return self._zygote.farewells

    def load(self, modules: list[str], *, settle: bool) -> None:
        """Have a warm launcher load what stages will import; `settle`: these are all."""
        if self._zygote is not None:
            self._zygote.load(modules)
            if settle:
                self._zygote.settle()

    def prepare(self, request: Request) -> None:
        """Begin with what is likely to be started next, as it comes. Raises Forked in the child of a zygote."""
        self.prefork.prepare(self._completed(request))

    def taken(self, request: Request | None) -> Request:
        """Return what `start` is to start, as it comes: None stands for what was prepared last."""
        if request is not None:
            return self._completed(request)
        assert self.prefork.request is not None
        return self.prefork.request

    def _completed(self, request: Request) -> Request:
        """With the base of its environment, which may have come with another one before."""
        self._base = request.setdefault("base", self._base)
        return request

    def start(self, request: Request) -> tuple[int, int, int | None]:
        """Start one stage; returns its process, its key and, where that may still fail, what fork_stage does.

        Raises OSError when there is no descriptor or process, and in the child of a zygote Forked.
        """
        if (begun := self.prefork.begin(request)) is not None:
            return begun
        if self._spawner is not None and (spawned := self._spawner.spawn(request)) is not None:
            return *spawned, None
        try:
            return self._fork(request)
        except OSError:
            if not self.prefork.dismiss():
                raise
            return self._fork(request)  # what waits has what this one needs

    def _fork(self, request: Request) -> tuple[int, int, int]:
        zygote = self._zygote
        if zygote is not None and not zygote.takes(request):
            zygote = None
        number = self._tree.begin()
        pid, report = fork_stage(request, self._tree, number, self._isolation, zygote)
        return pid, self._tree.key(number, pid), report

    def over(self, key: int) -> None:
        """To be called when nothing is left of a launch, by its key in the tree."""
        if self._spawner is not None:
            self._spawner.over(key)
