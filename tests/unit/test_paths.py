"""No two files may have the same path."""

import itertools

import pytest

from runner.paths import StatePaths, aside_path, is_partial, output_of, partial_path, partial_tag, variable_name

PATHS = StatePaths("/s", "/l")
NAMES = ["a", "a.1", "a.1.json", "ledger", "stage_a", "1", "a-b", "a_b", "tmp"]


def test_no_two_files_of_stages_and_runs_have_the_same_path():
    runs = [name for name in NAMES if name != "ledger"]  # no run may have this name
    paths = [PATHS.ledger, PATHS.digest_cache, PATHS.temporary, PATHS.pipeline_lock]
    paths += [make(name) for make in (PATHS.marker, PATHS.progress, PATHS.stage_lock) for name in NAMES]
    paths += [make(run) for make in (PATHS.audit, PATHS.metrics) for run in runs]
    for run, stage, attempt in itertools.product(runs, NAMES, (1, 2, 11)):
        paths.append(PATHS.log(run, stage, attempt))
    paths += [f"{PATHS.run_temporary(run)}/{number}" for run in runs for number in (1, 2, 11)]
    assert len(paths) == len(set(paths))


def test_a_partial_lies_beside_its_output_and_ends_in_its_whole_name():
    assert partial_path("/w/out/x.tar.gz", "0123ab") == "/w/out/.partial-0123ab.x.tar.gz"
    assert partial_path("/w/tree/", "0123ab") == "/w/.partial-0123ab.tree"


def test_the_output_of_a_partial_is_known_from_its_path():
    for output in ("/w/out/x.tar.gz", "/w/tree", "x"):
        assert output_of(partial_path(output, "0123ab")) == output


def test_each_attempt_of_each_run_at_each_key_has_its_tag():
    runs, keys = ("r1", "r2", "20260801T013000Z-0001"), ("0" * 64, "1" * 64)
    tags = {partial_tag(*fields) for fields in itertools.product(runs, keys, range(1, 30))}
    assert len(tags) == 3 * 2 * 29
    assert all(is_partial(f".partial-{tag}.x") for tag in tags)


@pytest.mark.parametrize(
    "name", [".partial-0123ab", ".partial-0123a.x", ".partial-0123AB.x", ".partial-0123abx", "partial-0123ab.x", ".x",
             ".partial-0123ag.x", ""],
)  # fmt: skip
def test_a_users_hidden_file_is_no_partial(name):
    assert not is_partial(name)


def test_an_output_that_is_set_aside_has_a_partials_name_of_its_own():
    partial = partial_path("/w/tree/", "0123ab")
    aside = aside_path(partial)
    assert aside == "/w/.partial-fedc54.tree"
    assert is_partial(aside.rpartition("/")[2])
    assert aside_path(aside) == partial
    assert aside not in {partial_path("/w/tree.old/", "0123ab"), partial}


@pytest.mark.parametrize(("name", "variable"), [("text", "TEXT"), ("a-b", "A_B"), ("x1_y", "X1_Y"), ("é", "_")])
def test_variables_are_upper_case_and_plain(name, variable):
    assert variable_name(name) == variable
