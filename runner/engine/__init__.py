"""A run from top to bottom: read `run.py` first. Here are the options of the verbs.

Each part has a module of its own, so that `run` can start the launcher before it loads most of the program.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.errors import SpecError, StateError
from runner.levels import STRICT
from runner.spec.each.tables import Made
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from runner.paths import StatePaths
    from runner.plan.digests import DigestCache
    from runner.sandbox.contents import Shown
    from runner.spec.model import Spec
    from runner.spec.values import Var


class Options(NamedTuple):
    """The options of `run`; each other verb uses those that apply to it.

    `wait` is in seconds (infinity: for ever). `params` overrides the spec's, by stage and key; `variables` its vars.
    `durability` is `full`, or `process`, which leaves out the fsyncs and still survives a kill -9. `offline` is
    `strict`, which refuses to run below the guard's level `filter`, or `best-effort`. `sealed` is `strict`, which
    refuses to run if sealed stages get no views, or `best-effort`, which runs them unsealed. `shown` is what they see
    besides what they declare. `events` is a file that gets a copy of each record of the log. `final`: the process ends
    with the run. `inputs` and `checks_disk`: as for load_spec. `made`: what stages made, if that is not in the
    workspace.

    `var_sources` are the words, and the content of the file, from which `variables` were read, if they are known.
    """

    stages: tuple[str, ...] = ()
    jobs: int | None = None
    keep_going: bool = False
    force: bool = False
    workspace: str | None = None
    run_id: str | None = None
    params: Mapping[str, Mapping[str, object]] = {}
    variables: Mapping[str, Var] = {}
    wait: float = 0.0
    durability: str = "full"
    paranoid: bool = False
    offline: str = STRICT
    events: str | None = None
    argv: tuple[str, ...] = ()
    final: bool = False
    var_sources: tuple[str | bytes, ...] = ()
    inputs: str | None = None
    made: Made | None = None
    keep_temporary: bool = False
    sealed: str = STRICT
    shown: Shown | None = None
    checks_disk: bool = True

    def load(
        self,
        spec_path: str,
        without: Collection[str] = (),
        outdated: Collection[str] = (),
        content: bytes | None = None,
    ) -> Spec:
        """Return the spec; no `each` matches the files `without`. Raises SpecError if it is not valid.

        A template is open if its table is not what a stage made last, or if that stage is `outdated`. `content`
        replaces that of the file.
        """

        def made_in(paths: StatePaths, workspace: str) -> Made:
            digests = DigestsOnRecord(paths, workspace)
            return self.made or Made(
                workspace, lambda stage, path: None if stage in outdated else digests.of(stage, path)
            )

        try:
            return load_spec(
                spec_path,
                workspace=self.workspace,
                params=self.params,
                variables=self.variables,
                without=without,
                inputs=self.inputs,
                made_in=made_in,
                content=content,
                checks_disk=self.checks_disk,
            )
        except SpecError as error:
            if not (matched := _orphans_matched(cast("Spec | None", error.spec))):
                raise
        # Orphans may be what makes an `each` invalid.
        return self.load(spec_path, {*without, *matched}, outdated, content)

    @property
    def is_durable(self) -> bool:
        """Whether a run makes durable what it writes."""
        return self.durability == "full"


class DigestsOnRecord:
    """The digests of outputs in the markers of a state directory. `cache`: of files, by default that on disk."""

    def __init__(self, paths: StatePaths, workspace: str, cache: DigestCache | None = None) -> None:
        self._paths = paths
        self._workspace = workspace
        self._given = cache

    def of(self, stage: str, path: str) -> str | None:
        """Return the SHA-256 that the marker of a stage has for an output; None without a usable marker.

        Also None for a directory that is another by now. Its files are read unless the cache knows them.
        """
        from runner.plan.digests import present_digest
        from runner.record.markers import read_marker

        marker = None
        with suppress(StateError):  # of a newer release, which a plan refuses
            marker = read_marker(self._paths, stage)
        made = next((output for output in marker.outputs.values() if output.path == path), None) if marker else None
        if made is None or not path.endswith("/"):
            return made and made.sha256
        present = present_digest(os.path.join(self._workspace, path.rstrip("/")), made, self._cache)
        return present if present == made.sha256 else None

    @cached_property
    def _cache(self) -> DigestCache:
        if self._given is not None:
            return self._given
        from runner.plan.digests import DigestCache
        from runner.record.noop_record import is_plain
        from runner.record.state import MOST_CACHE, no_note, read_usable

        return DigestCache(None if is_plain() else read_usable(self._paths.digest_cache, MOST_CACHE, no_note))


def _orphans_matched(spec: Spec | None) -> set[str]:
    if not (spec and spec.matches):
        return set()
    from runner.plan.digests import DigestCache
    from runner.plan.orphans import find_orphans
    from runner.record.markers import read_markers

    return {*filter(find_orphans(spec, read_markers(spec.paths), DigestCache()).holds, spec.matches)}
