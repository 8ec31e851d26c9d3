"""Settings for every test; what one directory needs is in the conftest.py there.

Tests marked `full` are left out of a run of the whole suite, unless it has the option --full. A test marked
`full_after(count)` then runs its first `count` cases only. Tests always run when the command line names them: a file, a
test, a spec, -k or -m.

The checks of pipelines/*.json are tests of the project as well: `offpipe_specs` in pyproject.toml brings them in.
"""

from __future__ import annotations

import compileall
import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["pytester"]
FULL_SPECS = ("every-field.json", "resume.json")  # whose checks are left to --full
EVERY_STAGE = ("run", "outputs")  # checks of every stage; without --full, others run for the first stage of a spec only
OWN_CHECKS = ("differing_executors", "function_scoped_fixture", "too_slow", "data_too_large", "large_base_example")
if find_spec("hypothesis"):  # environments with other releases of pytest and Python lack it
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "offpipe",
        deadline=None,  # a busy machine is no failure; where a call may hang, an alarm ends it (fuzz_calls)
        suppress_health_check=[check for check in HealthCheck if check.name in OWN_CHECKS],
        derandomize="OFFPIPE_FUZZ" not in os.environ,  # the suite tries the same examples each time
        database=None,
        print_blob=True,
    )
    settings.load_profile("offpipe")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full."""
    parser.addoption("--full", action="store_true", help="offpipe's own tests: also those marked full")


def pytest_configure(config: pytest.Config) -> None:
    """Turn --full on if tests are named, also in the workers of xdist, which get the same arguments."""
    is_named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    is_chosen = config.option.keyword or config.option.markexpr or config.option.offpipe_spec
    if is_named or is_chosen:
        config.option.full = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is marked full, and checks of specs that are left to --full."""
    if config.option.full:
        return
    chosen: dict[bool, list[pytest.Item]] = {True: [], False: []}
    checked: set[tuple[Path, str]] = set()
    variants: Counter[str] = Counter()
    for item in items:
        test = item.nodeid.partition("[")[0]
        variants[test] += 1
        is_variant = any(variants[test] > marker.args[0] for marker in item.iter_markers("full_after"))
        check = item.name.partition("[")[2].removesuffix("]")  # items of a spec are named STAGE[CHECK]
        is_repeated = item.path.suffix == ".json" and check not in EVERY_STAGE and (item.path, check) in checked
        is_full = is_repeated or is_variant or item.path.name in FULL_SPECS or item.get_closest_marker("full")
        chosen[not is_full].append(item)
        checked.add((item.path, check))
    config.hook.pytest_deselected(items=chosen[False])
    items[:] = chosen[True]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile our own modules once, before xdist starts its workers.

    Thousands of processes will import them. With PYTHONDONTWRITEBYTECODE set, each would compile all of them anew, a
    third of what a run costs. If the bytecode cannot be written, the tests only take longer.
    """
    if not hasattr(session.config, "workerinput"):
        for package in ("runner", "pytest_offpipe", "stages"):
            compileall.compile_dir(Path(__file__).parent / package, quiet=2)


@pytest.fixture(scope="session", autouse=True)
def root_for_inner_sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give sessions that tests start a temporary root of their own: each removes what earlier sessions left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path_factory.mktemp("inner")))
        yield
