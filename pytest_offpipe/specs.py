"""The specs that tests work with: by path, as a dict, or as the copy that `offpipe_spec` gives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.inputs import require_some
from pytest_offpipe.sandbox import load
from pytest_offpipe.usage import (
    SPEC_FIXTURE,
    AnyPath,
    Fields,
    apply,
    heeding,
    require,
    require_params,
    shown_path,
    stage_named,
    untraced,
)
from runner.errors import Fault, UsageError
from runner.spec.globs import entries_of
from runner.spec.kinds import did_you_mean
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from runner.spec.model import Spec


class OffpipeSpec(dict[str, Any]):
    """The JSON of a spec, which you may change. The file stays as it is.

    Relative paths are relative to the file, `path`. `inputs` is a tree of inputs to use instead of the spec's own.
    """

    path: Path
    inputs: Path | None = None

    @classmethod
    def read(cls, path: Path) -> OffpipeSpec:
        """Return a copy of a spec. Raises SpecError if it is not valid."""
        load_spec(shown_path(path))
        made = cls(json.loads(path.read_text("utf-8-sig")))
        made.path = path
        return made

    @untraced
    def stage(self, name: str) -> dict[str, Any]:
        """Return the dict of a stage. Raises UsageError for an unknown name."""
        stages: dict[str, dict[str, Any]] = {stage["name"]: stage for stage in self["stages"]}
        return stage_named(stages, name, str(self.path))


AnySpec = AnyPath | Fields
"""A spec: its path (relative to pytest's rootdir, else to the directory where it was called), or its JSON."""


def find(path: AnyPath, config: pytest.Config) -> Path:
    """Return the file or directory that a test means by `path`. Raises UsageError if there is none."""
    require("a path", path, AnyPath, "text, or a Path")
    places = [base / path for base in (config.rootpath, config.invocation_params.dir)]
    if place := next((place for place in places if place.exists()), None):
        return Path(os.path.normpath(place))
    parents = dict.fromkeys(str(place.parent) for place in places)
    near = [name for parent in parents for name in entries_of(parent)]
    hint = did_you_mean(os.path.basename(path), near)
    what = f"no such file in {' or '.join(parents)}"
    raise UsageError(Fault(os.fspath(path), what, hint if hint.startswith("did") else ""))


def load_given(given: AnySpec, config: pytest.Config, scratch: Path, inputs: str | None = None) -> Spec:
    """Return the spec that a test gave. Raises SpecError if it is not valid.

    `inputs`: as for load_spec. A dict is written to `scratch`. Its relative paths are relative to its `path`, or to the
    rootdir if it has none.
    """
    if not isinstance(given, Mapping):
        require("spec", given, AnyPath, "a path, a dict, or what offpipe_spec gives")
        return load(shown_path(find(given, config)), inputs)
    name = str(given.get("name", "spec"))
    home = given.path if isinstance(given, OffpipeSpec) else config.rootpath / f"{name}.json"
    scratch.mkdir(parents=True, exist_ok=True)
    written = scratch / f"{os.path.basename(name) or 'spec'}.json"
    content = dict(given)
    if isinstance(given.get("root", ""), str):
        content["root"] = os.path.relpath(home.parent / given.get("root", ""), scratch)
    written.write_text(json.dumps(content, indent=1, default=os.fspath), encoding="utf-8")
    return load(str(written), inputs)._replace(path=str(home))


def spec_of(request: pytest.FixtureRequest) -> OffpipeSpec:
    """Return a copy of the spec that a test's marker names, else of the spec that is its parameter."""
    marker = request.node.get_closest_marker(SPEC_FIXTURE)
    given = getattr(request, "param", None)
    if marker is None and given is None:
        pytest.skip("no spec is given: --offpipe-spec SPEC, the ini offpipe_specs, or the marker offpipe_spec(path)")
    with heeding(request.node, SPEC_FIXTURE):
        if marker is None:
            return OffpipeSpec.read(Path(str(given)))
        return apply(SPEC_FIXTURE, partial(_marked, request.config), marker.args, marker.kwargs)


def _marked(
    config: pytest.Config, path: AnyPath, params: Mapping[str, Fields] | None = None, inputs: AnyPath | None = None
) -> OffpipeSpec:
    require(f"{SPEC_FIXTURE} path", path, AnyPath, "the path of a spec")
    spec = OffpipeSpec.read(find(path, config))
    params = {} if params is None else params
    require_params(params)
    for name, values in params.items():
        stage = spec.stage(name)
        stage["params"] = {**stage.get("params", {}), **values}
    if inputs is not None:
        require(f"{SPEC_FIXTURE} inputs", inputs, AnyPath, "a directory of inputs")
        spec.inputs = find(inputs, config)
        require_some(load(str(spec.path), str(spec.inputs)), str(spec.inputs), f"{SPEC_FIXTURE} inputs")
    return spec
