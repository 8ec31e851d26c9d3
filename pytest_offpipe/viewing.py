"""The fixture `offpipe_run`: how the pipeline did in the run that all of a session's tests, and its checks, share."""

from __future__ import annotations

import pickle
from contextlib import closing
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from pytest_offpipe.checks.case import RUNS
from pytest_offpipe.collect import shared_directory
from pytest_offpipe.settings import SETTINGS, read_settings
from pytest_offpipe.shared import SharedRun
from pytest_offpipe.specs import OffpipeSpec, load_given
from runner.canonical import canonical
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_offpipe.reports import RunReport

_REPORTS = pytest.StashKey[dict[str, bytes]]()


def shared_report(
    config: pytest.Config, factory: pytest.TempPathFactory, spec: OffpipeSpec, scratch: Path
) -> RunReport:
    """Return how the spec's stages did in the one run of them in this session; it is made now, if it was not.

    A spec that differs from its file, or has inputs of its own, has a run of its own.
    """
    reports = config.stash.setdefault(_REPORTS, {})
    inputs = str(spec.inputs) if spec.inputs else (config.stash.get(SETTINGS, None) or read_settings(config)).inputs
    is_own = spec.inputs is not None or dict(spec) != dict(OffpipeSpec.read(spec.path))
    own = f"own-{crc32(canonical([dict(spec), inputs])):08x}" if is_own else ""
    key = f"{spec.path}{own}"
    if key not in reports:
        runs = config.stash.setdefault(RUNS, {})
        if key not in runs:
            loaded = load_given(spec, config, scratch) if is_own else load_spec(str(spec.path))
            base = shared_directory(config, factory) / own
            runs[key] = SharedRun(loaded, base, inputs)
        # Each test has it as it was, whatever others did to theirs.
        with closing(runs[key]):  # whose test may wait for children of its own
            reports[key] = pickle.dumps(runs[key].report())
    report: RunReport = pickle.loads(reports[key])  # noqa: S301 - written above
    return report
