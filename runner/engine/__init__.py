"""What the verbs do, without a terminal: the place where everything below is put together.

Each verb loads its own module, so that the launcher of a run is started before most of the program is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runner.levels import STRICT
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.spec.model import Spec


class Options(NamedTuple):
    """The options of `run`; the other verbs heed those that mean something to them.

    `wait` is in seconds (infinity: for ever). `params` overrides the spec's, by stage and key. `durability` is `full`
    or `process`: the latter leaves out the fsyncs, and still survives a kill -9. `offline` is `strict` or
    `best-effort`: whether less than the guard's level `filter` ends the run. `final`: the process ends with it.
    """

    stages: tuple[str, ...] = ()
    jobs: int | None = None
    keep_going: bool = False
    force: bool = False
    workspace: str | None = None
    run_id: str | None = None
    params: Mapping[str, Mapping[str, object]] = {}
    wait: float = 0.0
    durability: str = "full"
    paranoid: bool = False
    offline: str = STRICT
    argv: tuple[str, ...] = ()
    final: bool = False

    def load(self, spec_path: str) -> Spec:
        """Return the spec. Raises SpecError for one that is not valid."""
        return load_spec(spec_path, workspace=self.workspace, params=self.params)

    @property
    def is_durable(self) -> bool:
        """Whether what a run writes is made durable as it goes."""
        return self.durability == "full"
