from runner.spec.each.expansion import Instance
from runner.spec.kinds import Finding
from runner.spec.load import SpecBuilder
from runner.spec.model import Checkpoint, Resources, Retry, Stage

OUTPUT = {"name": "a", "outputs": {"o": "out/a"}}


def build(given, defaults=None, offline=None):
    builder = SpecBuilder("/pipeline/spec.json", {"defaults": defaults or {}, "offline": offline or {}})
    stage = builder.build_stage(Instance(0, {**OUTPUT, **given}), {})
    return stage, [finding.at[2:] for finding in builder.findings]


def test_a_glob_that_can_match_nothing_is_found_beside_a_path_without_a_name():
    stage, findings = build({"inputs": ["*.txt", "w/../x*/../a.txt", "b/.c*/d"]})
    assert stage.inputs == {"a": "a.txt", "d": "b/.c*/d"}
    assert findings == [("inputs", 0), ("inputs", 1), ("inputs", 2)]


def test_a_label_may_hold_a_list_and_each_of_its_paths_has_a_place():
    stage, findings = build({"inputs": {"x": ["./a.txt", "*/../b", "/pipeline/c/"], "y": "y.txt"}})
    assert stage.inputs == {"x": ("a.txt", "b", "c/"), "y": "y.txt"}
    assert findings == [("inputs", "x", 1)]
    assert list(stage.entries("x"))[1] == ("x", ("x", 1), "b")
    assert [(name, at) for name, at, _ in stage.entries()][2:] == [("x", ("x", 2)), ("y", ("y",))]


def test_a_path_in_a_list_is_placed_by_its_own_index_after_one_without_a_name():
    builder = SpecBuilder("/pipeline/spec.json", {})
    builder.build_stage(Instance(0, {"name": "a", "inputs": {"i": "in/i"}, "outputs": ["*", "out/o", "out/p"]}), {})
    for field, name, step in (("outputs", "p", 2), ("outputs", "q", "q"), ("inputs", "i", "i")):
        finding = Finding(("stages", 0, field, name), "what")
        assert builder.placed(finding).at == ("stages", 0, field, step)
    assert builder.placed(Finding(("root",), "what")).at == ("root",)


def test_the_defaults_of_the_table_are_those_of_the_values():
    assert build({})[0] == Stage(index=0, name="a", outputs={"o": "out/a"})
    assert build({"retry": {}, "checkpoint": {}, "resources": {}})[0].retry == Retry()


def test_defaults_are_merged_field_by_field():
    defaults = {
        "retry": {"attempts": 3, "jitter": 0},
        "checkpoint": {"everyLines": 5},
        "resources": {"cpus": 2},
        "env": {"A": "1", "B": "1"},
        "timeoutSeconds": 9,
        "freshInterpreter": True,
        "sealed": True,
    }
    plain, _ = build({}, defaults)
    assert (plain.retry, plain.timeout_seconds, plain.fresh_interpreter) == (Retry(attempts=3, jitter=0), 9, True)
    assert plain.sealed
    own = {
        "retry": {"attempts": 5},
        "checkpoint": {"everySeconds": 2},
        "resources": {"enforce": True},
        "env": {"B": "2"},
        "timeoutSeconds": 1,
        "freshInterpreter": False,
        "sealed": False,
    }
    stage, _ = build(own, defaults)
    assert stage.retry == Retry(attempts=5, jitter=0)
    assert stage.checkpoint == Checkpoint(every_lines=5, every_seconds=2)
    assert stage.resources == Resources(cpus=2, enforce=True)
    assert stage.env == {"A": "1", "B": "2"}
    assert (stage.timeout_seconds, stage.fresh_interpreter, stage.sealed) == (1, False, False)


def test_exit_codes_and_signals_stay_as_written():
    assert build({"retry": {"retryExitCodes": "any"}})[0].retry.retry_exit_codes == "any"
    retry = build({"retry": {"retryExitCodes": [1, "SIGKILL", 75]}})[0].retry
    assert retry.retry_exit_codes == (1, "SIGKILL", 75)


def test_the_default_limit_does_not_cut_a_given_delay():
    assert build({"retry": {"delaySeconds": 300}})[0].retry.max_delay_seconds == 300
    assert build({"retry": {"delaySeconds": [1, 90]}})[0].retry == Retry(delay_seconds=(1, 90), max_delay_seconds=90)
    assert build({"retry": {"delaySeconds": 300, "maxDelaySeconds": 10}})[0].retry.max_delay_seconds == 10


def test_retry_on_timeout_of_the_stage_comes_first():
    assert build({"retry": {"retryOnTimeout": True}})[0].retry_on_timeout
    assert build({}, {"retryOnTimeout": True})[0].retry_on_timeout
    assert build({}, {"retry": {"retryOnTimeout": True}})[0].retry_on_timeout
    assert not build({"retry": {"retryOnTimeout": False}}, {"retryOnTimeout": True})[0].retry_on_timeout
    assert not build({"retryOnTimeout": False, "retry": {"retryOnTimeout": True}})[0].retry_on_timeout


def test_a_stage_may_override_on_attempt():
    assert build({}, offline={"onAttempt": "record"})[0].on_attempt == "record"
    assert build({"offline": {"onAttempt": "fail"}}, offline={"onAttempt": "record"})[0].on_attempt == "fail"
    assert build({"offline": {}}, offline={"onAttempt": "record"})[0].on_attempt == "record"


def test_a_list_of_paths_is_named_by_their_stems():
    stage, findings = build({"inputs": ["data/a.txt", "./d/"], "outputs": ["out/x"]})
    assert (stage.inputs, stage.outputs) == ({"a": "data/a.txt", "d": "d/"}, {"x": "out/x"})
    assert findings == []


def test_stems_that_are_no_names_or_the_same_are_faults():
    _, findings = build({"inputs": ["*.txt", "a.txt", "b/a.csv"], "outputs": ["x.tar.gz"]})
    assert sorted(findings, key=str) == [("inputs", 0), ("inputs", 2), ("outputs", 0)]


def test_paths_are_normalised_relative_to_root():
    stage, _ = build(
        {"inputs": {"a": "/pipeline/x//y", "b": "/data/*.txt", "c": "../../z/"}, "processor": "/pipeline/./p.py"}
    )
    assert stage.inputs == {"a": "x/y", "b": "../data/*.txt", "c": "../z/"}
    assert stage.processor == "p.py"
    assert build({"processor": "offpipe:stage_copy.py"})[0].processor == "offpipe:stage_copy.py"


def test_keys_of_the_users_own_are_kept():
    assert build({"x-offpipe": {"a": 1}})[0].extensions == {"x-offpipe": {"a": 1}}


def test_values_for_each_attempt_are_merged_as_wholes_like_single_ones():
    defaults = {"resources": {"memoryMiB": [1, 2], "cpus": [0.5, 1]}, "timeoutSeconds": [5, 6]}
    stage, _ = build({"resources": {"memoryMiB": 9}}, defaults)
    assert stage.resources == Resources(cpus=(0.5, 1), memory_mib=9) and stage.timeout_seconds == (5, 6)
    assert stage.by_attempt == {"cpus": (0.5, 1), "timeoutSeconds": (5, 6)}
    assert build({"timeoutSeconds": 1}, defaults)[0].timeout_seconds == 1


def test_a_stage_has_the_program_version_of_the_defaults_unless_it_has_its_own():
    builder = SpecBuilder(
        "/pipeline/spec.json",
        {
            "vars": {"tool": "{python}"},
            "defaults": {"programVersion": ["x", "{python}"]},
            "stages": [OUTPUT, {**OUTPUT, "programVersion": ["{vars.tool}", "-v"]}],
        },
    )
    versions = [builder.build_stage(Instance(index, OUTPUT), {}).program_version for index in (0, 1)]
    assert versions == [("x", "{python}"), ("{\0python}", "-v")]  # a value makes no placeholder
    assert build({})[0].program_version is None and builder.findings == []
