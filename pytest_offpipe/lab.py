"""The fixture `offpipe`: runs of a pipeline, or of one stage alone, in sandboxes of one test."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.asked import (
    refuse,
    require_jobs,
    require_list,
    require_mapping,
    require_names,
    require_params,
    require_path,
    require_run_id,
    told_plainly,
)
from pytest_offpipe.giving import lay_tree
from pytest_offpipe.program import ProgramReport, run_program
from pytest_offpipe.reports import Outputs, RunReport, StageReport
from pytest_offpipe.running import Around, run_sandbox
from pytest_offpipe.settings import SETTINGS, read_settings
from pytest_offpipe.space import PipelineSpace, StageSpace
from pytest_offpipe.specs import OffpipeSpec, find, find_stage, load_given
from pytest_offpipe.trees import require_each, require_some
from runner import results
from runner.api import Options
from runner.errors import Fault, InputError, OfflineError, SpecError, UsageError
from runner.levels import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_offpipe.giving import Content, Inputs
    from pytest_offpipe.onetest import OneTest
    from pytest_offpipe.planning import OffpipeFaults
    from pytest_offpipe.sandbox import Sandbox
    from pytest_offpipe.settings import Settings
    from pytest_offpipe.specs import Given
    from runner.spec.model import Spec

    Params = Mapping[str, Mapping[str, Any]]

_NOTHING: Mapping[str, Any] = {}
_TAIL = 15  # lines of a log that are shown of a stage that failed


class Offpipe:
    """Runs pipelines, and stages of them alone, in copies that hold only what the spec declares.

    A `spec` is a path (from pytest's rootdir, else from where it was called), a dict, or what `offpipe_spec` gives.
    Stages meet what `offpipe_faults` has planned, and wait by `offpipe_clock` if the test asks for it. `plugins`
    implement the hooks of a run.
    """

    def __init__(self, test: OneTest, faults: OffpipeFaults) -> None:
        self._test = test
        self._faults = faults
        self._config = test.item.config
        self._pipelines: dict[str, PipelineSpace] = {}
        self._stages: dict[str, StageSpace] = {}
        self._count = 0
        test.stories.append(self._story)

    @told_plainly
    def stage(
        self,
        spec: Given,
        name: str,
        *,
        inputs: Inputs = _NOTHING,
        params: Mapping[str, Any] = _NOTHING,
        after: StageReport | None = None,
        plugins: Sequence[object] = (),
    ) -> StageReport:
        """Run one stage alone, and return how it ended.

        `inputs`: input -> bytes, text, or the Path of a file; for globs and directories also name -> such. Inputs of
        the source are used where none is given, but what another stage makes must be. Each call is from nothing, unless
        it comes `after` another one's report: then it goes on where that one ended, as a second run does.
        """
        require_mapping("inputs", inputs, '{"text": b"..."}')
        require_mapping("params", params, '{"key": value}')
        require_list("plugins", plugins, "a list of objects with hooks")
        loaded = self._load(spec)
        stage = find_stage(loaded, name)
        workspace = getattr(after, "workspace", None)
        alone = StageSpace(self._scratch("stage")) if after is None else self._stages.get(str(workspace))
        if alone is None:
            raise UsageError(Fault("after", "is no report of a stage that ran alone in this test"))
        sandbox = alone.lay(loaded, stage, inputs, params, self._inputs(spec))
        self._stages[sandbox.root] = alone
        report = self._run(sandbox, Options(durability="process"), loaded, plugins, [name])
        if name in report.stages:
            return report.stages[name]
        outputs = Outputs({one: os.path.join(sandbox.root, path) for one, path in stage.outputs.items()})
        return StageReport(
            name, results.FAILED, report.exit_code, [], outputs, "", None, report.error, workspace=sandbox.root
        )

    @told_plainly
    def run(
        self,
        spec: Given,
        *,
        stages: str | Sequence[str] = (),
        params: Params = _NOTHING,
        inputs: str | os.PathLike[str] | Mapping[str, Content] | None = None,
        jobs: int | None = None,
        keep_going: bool = False,
        force: bool = False,
        run_id: str | None = None,
        plugins: Sequence[object] = (),
    ) -> RunReport:
        """Run a pipeline, or some `stages` of it, and return how it ended.

        A second run of the same spec goes on where the first one ended. `inputs`: a directory laid out as below the
        spec's root, or relative path -> content; what is in there is not taken from the source. `params`: as `--param`,
        stage -> key -> value. The other options are those of `offpipe run`.
        """
        if not isinstance(stages, str):
            require_list("stages", stages, "the name of a stage, or a list of such")
        names = (stages,) if isinstance(stages, str) else tuple(stages)
        require_params("params", params)
        require_jobs(jobs)
        require_run_id(run_id)
        require_list("plugins", plugins, "a list of objects with hooks")
        try:
            loaded = self._load(spec)
            require_names([*names, *params], [stage.name for stage in loaded.stages], loaded.shown)
            sandbox = self._laid(spec, loaded, inputs)
        except (SpecError, InputError, OfflineError) as error:  # as the program answers them
            return RunReport(error.exit_code, None, results.FAILED, {}, "", "", "", str(error))
        options = Options(
            stages=names, params=params, jobs=jobs, keep_going=keep_going, force=force, run_id=run_id,
            durability="process",
        )  # fmt: skip
        return self._run(sandbox, options, loaded, plugins, names or [stage.name for stage in loaded.stages])

    @told_plainly
    def copy(self, spec: Given, inputs: str | os.PathLike[str] | Mapping[str, Content] | None = None) -> Path:
        """Lay a pipeline out as `run` does, and return the path of the spec in the copy, in which `run` goes on."""
        return Path(self._laid(spec, self._load(spec), inputs).spec)

    @told_plainly
    def cli(
        self,
        *words: str | os.PathLike[str] | Mapping[str, Any],
        env: Mapping[str, str | None] = _NOTHING,
        cwd: str | os.PathLike[str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60.0,
    ) -> ProgramReport:
        """Run the program `offpipe` itself, and return its exit code and what it wrote.

        A spec given as a dict, or by `offpipe_spec`, is laid out by `copy`, and its path is given to the program; a
        path is what it is: a run of it is one of the project itself, unless it is told a `--workspace`. `cwd` is else
        pytest's rootdir; a variable of `env` that is None is unset. Neither faults nor the clock reach this program.
        """
        for word in words:
            if not isinstance(word, Mapping):
                require_path("cli", word, "words of a command line: text, Paths, or a spec")
        given = [str(self.copy(word)) if isinstance(word, Mapping) else os.fspath(word) for word in words]
        return run_program(given, env, cwd or self._config.rootpath, stdin, timeout)

    def _load(self, given: Given) -> Spec:
        return load_given(given, self._config, self._test.directory / "specs")

    def _inputs(self, given: Given) -> str | None:
        own = given.inputs if isinstance(given, OffpipeSpec) else None
        if own is not None:
            return str(own)
        return self._settings.inputs

    @property
    def _settings(self) -> Settings:
        return self._config.stash.get(SETTINGS, None) or read_settings(self._config)

    def _scratch(self, name: str) -> Path:
        self._count += 1
        return self._test.directory / f"{name}-{self._count}"

    def _laid(
        self, given: Given, loaded: Spec, inputs: str | os.PathLike[str] | Mapping[str, Content] | None
    ) -> Sandbox:
        pipeline = self._pipelines.get(loaded.path)
        if pipeline is None:
            pipeline = self._pipelines[loaded.path] = PipelineSpace(self._scratch("run"), self._inputs(given))
        if inputs is not None:
            pipeline.inputs = self._tree(loaded, inputs)
        return pipeline.lay(loaded)

    def _tree(self, loaded: Spec, inputs: str | os.PathLike[str] | Mapping[str, Content]) -> str:
        """Return the directory of the inputs that were given. UsageError for what the spec takes nothing of."""
        if isinstance(inputs, Mapping):
            tree = str(lay_tree(inputs, self._scratch("inputs")))
            require_each(loaded, inputs, tree)
            return tree
        if not isinstance(inputs, str | os.PathLike):
            refuse("inputs", inputs, "a directory, or {path: content}")
        tree = str(find(inputs, self._config))
        require_some(loaded, tree, "inputs")
        return tree

    def _run(
        self, sandbox: Sandbox, options: Options, loaded: Spec, plugins: Sequence[object], names: Sequence[str]
    ) -> RunReport:
        faults, around = self._faults, Around(sandbox.home, sandbox.temporary)
        faults.require_known([stage.name for stage in loaded.stages])
        if faults.wants_disk(names):
            report = self._run_on_own_disk(sandbox, around, options, plugins)
        else:
            around.alter = faults.injector
            report = run_sandbox(sandbox, around, options, tuple(plugins), self._test.clock)
        self._test.reports.append(report)
        if self._test.offline is not None:
            self._test.offline.note_stages(report.stages)
        return report

    def _run_on_own_disk(
        self, sandbox: Sandbox, around: Around, options: Options, plugins: Sequence[object]
    ) -> RunReport:
        from pytest_offpipe.disks import run_on_own_disk

        faults, clock = self._faults, self._test.clock
        if plugins:
            raise UsageError(Fault("plugins", "do not reach a run on a full disk, which is in another process"))
        try:
            told = run_on_own_disk(sandbox, around, options.replace(jobs=1), faults.injector, clock)
        except RefusedError as error:
            why = f"no disk of its own can be mounted here: {error}"
            pytest.fail(why, pytrace=False) if self._settings.strict else pytest.skip(why)
        faults.adopt(told.plans)
        if clock is not None and told.clock is not None:
            clock.adopt(told.clock)
        return told.report

    def _story(self) -> str:
        """Return what a reader of a failed test wants to know of its runs."""
        lines = []
        for report in self._test.reports:
            lines.append(f"{shlex.join(['offpipe', report.spec])}   (exit {report.exit_code})")
            lines.extend(f"  {line}" for line in report.error.splitlines())
            for name, stage in report.stages.items():
                lines.append(f"  {name}: {stage.status}")
                if stage.status == results.FAILED:
                    lines.extend(f"    {line}" for line in [*stage.error.splitlines(), *_tail(stage.log)])
        return "\n".join(lines)


def _tail(log: str) -> list[str]:
    lines = log.rstrip().splitlines()
    return [*(["..."] if len(lines) > _TAIL else []), *lines[-_TAIL:]]
