"""A pipeline whose stages are declared complete without a run, so that files alone decide what a plan finds."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from pipeline_bench import PipelineBench

from runner.engine import Options
from runner.engine.session import Session
from runner.plan.fingerprint import KEY_VERSION
from runner.record.markers import Marker, OutputIdentity, write_marker

if TYPE_CHECKING:
    from runner.plan.decisions import Decision, Reason
    from runner.plan.fingerprint import Fingerprint


class PlanBench(PipelineBench):
    """A PipelineBench with sessions in this process."""

    def session(self, **options: object) -> Session:
        return Session(str(self.spec), Options(**options))  # type: ignore[arg-type]

    def decisions(self, **options: object) -> dict[str, Decision]:
        return self.session(**options).plan().plan.decisions

    def reasons(self, stage: str = "a", **options: object) -> list[Reason]:
        return list(getattr(self.decisions(**options)[stage], "reasons", ()))

    def fingerprint(self, stage: str = "a", **options: object) -> Fingerprint:
        session = self.session(**options)
        return session.plan().new_examiner().examine(next(each for each in session.stages if each.name == stage))

    def inputs(self, stage: str = "a", **options: object) -> dict[str, list[str]]:
        """The paths that each input of a stage stands for."""
        resolved = self.fingerprint(stage, **options).inputs
        return {name: [file.path for file in files] for name, files in resolved.items()}

    def complete(self, *names: str, **options: object) -> None:
        """Write outputs and markers as if stages (default: all) had run now and written `NAME was here`."""
        session = self.session(**options)
        spec = session.spec
        os.makedirs(spec.paths.temporary, exist_ok=True)
        for stage in session.stages:
            if names and stage.name not in names:
                continue
            fingerprint = session.plan().new_examiner().examine(stage)
            outputs = {}
            for name, declared in stage.outputs.items():
                outputs[name] = self._output(spec.output_path(declared), declared, f"{stage.name} was here\n")
            marker = Marker(
                stage.name, fingerprint.key, KEY_VERSION, fingerprint.components, outputs, "run", 0, []
            )  # fmt: skip
            write_marker(spec.paths, marker)

    def _output(self, path: str, declared: str, content: str) -> OutputIdentity:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        status = os.stat(path)
        sha256 = hashlib.sha256(content.encode()).hexdigest()
        identity = OutputIdentity(declared, status.st_size, sha256, status.st_ino, status.st_mtime_ns)
        return identity.with_ctime(status.st_ctime_ns)
