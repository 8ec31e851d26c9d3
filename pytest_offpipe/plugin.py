"""What pytest loads: options, markers and fixtures. All else is imported when a spec is given or a fixture is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

OPTIONS = (
    # option, action, default, help; each has its ini of the same name with `_`
    ("--offpipe-spec", "append", None, "collect the checks of this pipeline spec (may be given several times)"),
    ("--offpipe-checks", "store", None, "only these checks, with commas between: run,outputs,repeat,..."),
    ("--offpipe-inputs", "store", None, "a directory of smaller inputs, laid out as below the spec's root"),
    ("--offpipe-seed", "store", None, "what chance decides by, to repeat a failure; default: drawn anew"),
    ("--offpipe-budget", "store", None, "seconds a stage that resume, stop and full may take each (default: 45)"),
    ("--offpipe-strict", "store_true", False, "fail a check that this machine, or chance, kept from being made"),
)
MARKERS = (
    "offpipe: a check of a stage or a pipeline, collected from a spec",
    "offpipe_spec(path, params={}, inputs=None): the spec of the fixtures, with params of stages and a tree of inputs",
    "offpipe_fault(kind, stage, **arguments): a fault of the fixture offpipe_faults",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with its ini."""
    group = parser.getgroup("offpipe", "pipelines as test suites")
    for name, action, default, text in OPTIONS:
        group.addoption(name, action=action, default=default, help=text)
        if action == "store_true":
            parser.addini(name.strip("-").replace("-", "_"), text, "bool")
        elif action == "store":
            parser.addini(name.strip("-").replace("-", "_"), text)
    parser.addini("offpipe_specs", "specs to collect when no path is given; globs", "args")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; with a spec given, bring in what collects it."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    names_spec = any(".json" in argument for argument in config.args)
    if names_spec or config.getoption("offpipe_spec") or config.getini("offpipe_specs"):
        from pytest_offpipe.session import begin

        begin(config)
