"""How a stage is started: the quickest way that fits it.

A Python stage is a fork of the launcher (zygote) where that is warm; in one that is not, a program is started without a
fork (spawn) where that can be had and goes well. All else is a fork that executes the program (child).

Loaded by the launcher program only.
"""

from __future__ import annotations

from runner.contain.child import fork_stage
from runner.contain.spawn import Spawner

TYPE_CHECKING = False
if TYPE_CHECKING:
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

    def load(self, modules: list[str], *, settle: bool) -> None:
        """Have a warm launcher load what stages will import; `settle`: these are all."""
        if self._zygote is not None:
            self._zygote.load(modules)
            if settle:
                self._zygote.settle()

    def start(self, request: Request) -> tuple[int, int | None]:
        """Start one stage; returns its process and, where that may still fail, what fork_stage does.

        Raises OSError when there is no descriptor or process, and in the child of a zygote Forked.
        """
        self._base = request.setdefault("base", self._base)
        if self._spawner is not None and (pid := self._spawner.spawn(request)) is not None:
            return pid, None
        zygote = self._zygote
        if zygote is not None and not zygote.takes(request):
            zygote = None
        self._tree.begin()
        return fork_stage(request, self._tree, self._isolation, zygote)

    def over(self, key: int) -> None:
        """To be called when nothing is left of a launch, by its key in the tree."""
        if self._spawner is not None:
            self._spawner.over(key)
