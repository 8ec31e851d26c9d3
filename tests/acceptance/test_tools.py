"""Environments of tools: what a stage gets of them, and what of them is in the key."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import noop_words as quick
import pytest
from pipeline_bench import shell, unstamped, wait_for
from tool_environments import (
    conda_package,
    install,
    old_python,
    other_python,
    pip_install,
    project,
    real_conda_package,
    site_of,
    venv,
)

TOOL = "#!/bin/sh\necho tool {}\n"


@pytest.fixture(scope="session")
def one(tmp_path_factory):
    """A venv of another Python, with pack 1.0; do not change it."""
    base = tmp_path_factory.mktemp("environments")
    install(venv(base / "one", other_python()), project(base / "pack", "pack", "1.0"))
    return base / "one"


@pytest.fixture
def mine(one, tmp_path_factory):
    """A copy of it at another place."""
    return Path(shutil.copytree(one, tmp_path_factory.mktemp("mine") / "env", symlinks=True))


@pytest.fixture
def conda(tmp_path_factory):
    """A conda prefix with a program and without a Python."""
    prefix = tmp_path_factory.mktemp("conda") / "env"
    conda_package(prefix, "tool", "1.0", {"bin/tool": TOOL.format("1.0")})
    return prefix


def printing(name: str, *command: str, **fields: object) -> dict[str, object]:
    return {"name": name, "command": command, "stdout": "out", "outputs": {"out": f"{name}.txt"}, **fields}


def script(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "processor": "stage.py", "stdout": "out", "outputs": {"out": f"{name}.txt"}, **fields}


def started(bench) -> list[str]:
    """The stages that the next run starts."""
    before = len(bench.records("attempt.started"))
    bench.succeed()
    return [record["data"]["stage"] for record in bench.records("attempt.started")[before:]]


def lines(bench, path: str) -> list[str]:
    return bench.read(path).decode().splitlines()


# ---- what a stage gets ----


def test_the_programs_of_a_venv_come_first_on_path_also_before_that_of_env(bench, one):
    command = ("sh", "-c", 'pack; echo "$PATH"; echo "$VIRTUAL_ENV"; echo "${CONDA_PREFIX-none}"')
    bench.define(printing("a", *command, tools=str(one), env={"PATH": "/usr/bin:/bin"}))
    bench.succeed()
    assert lines(bench, "a.txt") == ["1.0", f"{one}/bin:/usr/bin:/bin", str(one), "none"]


def test_a_conda_prefix_without_python_leaves_python_as_it_is(bench, conda):
    bench.write(
        "stage.py", "import sys, os\nfrom runner import sdk\nprint(sys.executable, os.environ['CONDA_PREFIX'])\n"
    )
    bench.define(printing("a", "tool", tools=str(conda)), script("b", tools=str(conda)))
    bench.succeed()
    assert bench.read("a.txt") == b"tool 1.0\n"
    assert bench.read("b.txt").decode() == f"{sys.executable} {conda}\n"


def test_a_processor_and_the_placeholder_use_its_python_and_the_sdk(bench, one):
    text = "import sys, pack; from runner import sdk; print(sys.prefix, pack.VERSION, sys.dont_write_bytecode)"
    bench.write("stage.py", text)
    bench.write("in.txt", "one\n")
    sdk = "from runner import sdk\nwith sdk.stage() as stage, stage.lines('in', to='out') as job:\n"
    bench.write("upper.py", f"{sdk}    for line in job:\n        job.write(line.upper())\n")
    upper = {"name": "c", "processor": "upper.py", "inputs": {"in": "in.txt"}, "outputs": {"out": "c.txt"}}
    bench.define(script("a"), printing("b", "{python}", "-c", text), upper, defaults={"tools": str(one)})
    bench.succeed()
    assert lines(bench, "a.txt") == lines(bench, "b.txt") == [f"{one} 1.0 True"]
    assert bench.read("c.txt") == b"ONE\n"


def test_nothing_that_is_installed_beside_offpipe_gets_in_the_way(bench, one):
    bench.write("stage.py", "import sys, importlib.util\nprint(*sys.path[1:], importlib.util.find_spec('pluggy'))\n")
    bench.define(script("a", tools=str(one)))
    bench.succeed()
    path = bench.read("a.txt").decode().split()
    assert path[-1] == "None" and os.listdir(path[0]) == ["runner"]


def test_the_first_of_a_list_wins(bench, one, conda, tmp_path):
    conda_package(other := tmp_path / "other", "tool", "2.0", {"bin/tool": TOOL.format("2.0")})
    command = ("sh", "-c", 'tool; pack; echo "$PATH" "$CONDA_PREFIX" "$VIRTUAL_ENV"')
    bench.define(printing("a", *command, tools=[str(other), str(conda), str(one)], env={"PATH": "/bin"}))
    bench.succeed()
    path = f"{other}/bin:{conda}/bin:{one}/bin:/bin"
    assert lines(bench, "a.txt") == ["tool 2.0", "1.0", f"{path} {other} {one}"]


def test_the_path_is_relative_to_root_or_begins_outside_and_holds_vars(bench, conda):
    shutil.copytree(conda, bench.root / "envs/bio")
    shutil.copytree(conda, bench.root.parent / f"{bench.root.name}-beside")
    places = {"a": "envs/{vars.name}", "b": f"../{bench.root.name}-beside/", "c": f"{conda}/../env"}
    bench.define(*(printing(name, "tool", tools=path) for name, path in places.items()), vars={"name": "bio"})
    bench.succeed()
    assert {bench.read(f"{name}.txt") for name in places} == {b"tool 1.0\n"}


def test_each_instance_may_have_its_own(bench, conda):
    conda_package(bench.root / "envs/2", "tool", "2.0", {"bin/tool": TOOL.format("2.0")})
    shutil.copytree(conda, bench.root / "envs/1")
    each = {"each": {"v": [1, 2]}, "tools": "envs/{each.v}"}
    bench.define({**printing("a", "tool"), **each, "outputs": {"out": "{each.v}.txt"}})
    bench.succeed()
    assert (bench.read("1.txt"), bench.read("2.txt")) == (b"tool 1.0\n", b"tool 2.0\n")


def test_an_instance_that_only_a_run_knows_may_have_its_own(bench, conda):
    shutil.copytree(conda, bench.root / "envs/1")
    table = printing("t", "printf", "v\n1\n", outputs={"out": "t.csv"})
    each = {"each": {"rows": "t.csv"}, "tools": "envs/{each.v}", "outputs": {"out": "{each.v}.txt"}}
    bench.define(table, {**printing("a", "tool"), **each})
    assert "warning" not in bench.succeed().stderr
    assert bench.read("1.txt") == b"tool 1.0\n"


def test_an_older_python_runs_without_the_sdk_and_says_so(bench, tmp_path):
    python = old_python()
    prefix = venv(tmp_path / "old", python or sys.executable)
    if python is None:
        config = (prefix / "pyvenv.cfg").read_text()
        (prefix / "pyvenv.cfg").write_text(config.replace("version = 3.", "version = 3.8."))
    bench.write("stage.py", "try:\n    import runner\nexcept ImportError:\n    print('without')\n")
    bench.define(script("a", tools=str(prefix)), shell("b", "touch $PIPELINE_OUTPUT_OUT", tools=str(prefix)))
    done = bench.succeed()
    assert bench.read("a.txt") == b"without\n"
    warnings = [line for line in unstamped(done.stderr).splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and warnings[0].startswith("warning: stage a: Python 3.")
    assert "runs without runner.sdk, which needs 3.11" in warnings[0]
    assert "warning" not in bench.succeed().stderr


def test_a_version_on_record_is_that_of_the_tools(bench, conda, one):
    asks = {"programVersion": ["tool"], "tools": [str(conda), str(one)]}
    text = "import pack; print(pack.VERSION)"
    bench.define(
        printing("a", "tool", **asks), printing("b", "tool", **{**asks, "programVersion": ["{python}", "-c", text]})
    )
    bench.succeed()
    versions = [json.loads(bench.read(f"state/stage_{name}.json"))["programVersion"] for name in "ab"]
    assert versions == ["tool 1.0", "1.0"]


# ---- what is in the key ----


def test_another_version_of_one_package_runs_exactly_the_stages_of_that_environment(bench, one, mine, tmp_path):
    bench.write("stage.py", "import pack\nprint(pack.VERSION)\n")
    bench.define(script("a", tools=str(mine)), script("b", tools=str(one)), printing("c", "echo", "x"))
    assert started(bench) == ["a", "b", "c"]
    assert started(bench) == []
    install(mine, project(tmp_path / "two", "pack", "2.0"))
    reasons = bench.run("explain", "a").stdout.splitlines()
    assert [line.partition(":")[0] for line in reasons[1:3]] == ["  tools pack-1.0", "  tools pack-2.0"]
    assert reasons[1].endswith("gone") and reasons[2].endswith("new")
    assert started(bench) == ["a"]
    assert (bench.read("a.txt"), bench.read("b.txt")) == (b"2.0\n", b"1.0\n")


def test_other_content_of_the_same_version_runs_it_again(bench, mine, tmp_path):
    bench.define(printing("a", "pack", tools=str(mine)))
    bench.succeed()
    changed = project(tmp_path / "changed", "pack", "1.0")
    (changed / "pack.py").write_text("def main():\n    print('patched')\n")
    install(mine, changed)
    assert started(bench) == ["a"]
    assert bench.read("a.txt") == b"patched\n"


@pytest.mark.parametrize("inside", [False, True])
def test_a_copy_at_another_place_runs_nothing(bench, one, conda, tmp_path_factory, inside):
    place = bench.root / "envs" if inside else tmp_path_factory.mktemp("elsewhere")

    def define(*tools):
        bench.define(printing("a", "{python}", "-c", "print(1)", tools=[*map(str, tools)]))

    define(one, conda)
    bench.succeed()
    shutil.copytree(one, place / "venv", symlinks=True)
    shutil.copytree(conda, place / "conda", symlinks=True)
    define(place / "venv", place / "conda")
    assert started(bench) == []
    define(place / "conda", place / "venv")
    assert started(bench) == ["a"]


def test_an_environment_that_is_made_again_at_another_place_runs_nothing(bench, one, tmp_path):
    install(venv(tmp_path / "again", other_python()), one.parent / "pack")
    define = lambda prefix: bench.define(printing("a", "true", tools=str(prefix)))
    define(one)
    bench.succeed()
    define(tmp_path / "again")
    assert started(bench) == []


def test_the_python_of_a_venv_is_in_the_key(bench, mine):
    bench.define(printing("a", "true", tools=str(mine)))
    bench.succeed()
    config = mine / "pyvenv.cfg"
    config.write_text(
        "".join(line for line in config.read_text().splitlines(True) if "version =" not in line) + "version = 3.99.1\n"
    )
    assert "tools python: 3." in bench.run("explain", "a").stdout
    assert started(bench) == ["a"]


def test_a_stage_whose_environment_changed_while_it_ran_runs_again(bench, conda):
    waits = "tool > $PIPELINE_OUTPUT_OUT; test -e started || { touch started; while ! test -e go; do :; done; }"
    bench.define(shell("a", waits, tools=str(conda)))
    run = bench.start()
    wait_for(lambda: bench.exists("started"))
    conda_package(conda, "tool", "2.0", {"bin/tool": TOOL.format("2.0")})
    bench.write("go", "")
    run.communicate(timeout=60)
    assert run.returncode == 0 and len(bench.records("attempt.started")) == 2
    assert bench.read("out/a.txt") == b"tool 2.0\n"
    assert bench.skips_everything()


def test_another_conda_package_runs_its_stages_again(bench, conda):
    bench.define(printing("a", "tool", tools=str(conda)), printing("b", "true"))
    bench.succeed()
    conda_package(conda, "tool", "2.0", {"bin/tool": TOOL.format("2.0")})
    assert started(bench) == ["a"]
    assert bench.read("a.txt") == b"tool 2.0\n"
    shutil.copy(meta := conda / "conda-meta/tool-2.0-h1_0.json", conda / "conda-meta/lib-1-0.json")
    assert started(bench) == ["a"]
    meta.write_text(meta.read_text().replace("h1_0", "h2_0"))
    assert started(bench) == ["a"]
    (conda / "conda-meta/history").write_text("==> today <==\n")
    assert started(bench) == []


def test_a_pip_package_in_a_conda_prefix_counts_and_one_of_conda_counts_once(bench, mine, tmp_path):
    (mine / "pyvenv.cfg").unlink()
    site = site_of(mine).relative_to(mine)
    record = (mine / site / "pack-1.0.dist-info/RECORD").read_text()
    conda_package(mine, "pack", "1.0", {f"{site}/pack-1.0.dist-info/RECORD": record})
    bench.define(printing("a", "true", tools=str(mine)))
    bench.succeed()
    record = mine / site / "pack-1.0.dist-info/RECORD"
    record.write_text(record.read_text() + "more,,\n")
    assert started(bench) == []
    shutil.copytree(mine / site / "pack-1.0.dist-info", mine / site / "by_pip-1.dist-info")
    assert "tools by_pip-1: new" in bench.run("explain", "a").stdout
    assert started(bench) == ["a"]


def test_a_prefix_that_a_conda_tool_made(bench, tmp_path_factory):
    """Its files in `conda-meta` are those of pixi and the like, not our idea of them."""
    directory = tmp_path_factory.mktemp("conda")
    real_conda_package(directory, prefix := directory / "bio", "1.0")
    define = lambda place: bench.define(printing("a", "tool", tools=str(place)), printing("b", "true"))
    define(prefix)
    assert started(bench) == ["a", "b"]
    components = json.loads(bench.read("state/stage_a.json"))["components"]
    assert components["tools"].keys() == {"tool-1.0-0"}  # that of pip is conda's own
    define(shutil.copytree(prefix, directory / "copy"))
    assert started(bench) == []
    define(prefix)
    real_conda_package(directory, prefix, "2.0")
    assert started(bench) == ["a"]
    assert bench.read("a.txt") == b"tool 2.0\n"
    target = ["--target", str(next(prefix.glob("lib/*/site-packages")))]
    pip_install(project(directory / "pack", "pack", "1.0"), *target)
    assert "tools pack-1.0: new" in bench.run("explain", "a").stdout
    assert started(bench) == ["a"]


def test_lines_of_programs_do_not_count(bench, mine):
    bench.define(printing("a", "true", tools=str(mine)))
    bench.succeed()
    record = site_of(mine) / "pack-1.0.dist-info/RECORD"
    text = record.read_text()
    assert "../../../bin/pack,sha256=" in text
    record.write_text(text.replace("../../../bin/pack,sha256=", "../../../bin/pack,sha256=x"))
    assert started(bench) == []


def test_with_the_identity_name_nothing_of_it_is_in_the_key(bench, mine, conda):
    bench.write("stage.py", "import pack\nprint(pack.VERSION)\n")
    bench.define(script("a", tools=str(mine)), defaults={"toolsIdentity": "name"})
    bench.succeed()
    shutil.rmtree(site_of(mine) / "pack-1.0.dist-info")
    assert started(bench) == []
    components = json.loads(bench.read("state/stage_a.json"))["components"]
    assert components.keys() == {"inputs", "code", "params", "command", "env", "outputs"}
    bench.define(script("a", tools=str(mine), toolsIdentity="content"), defaults={"toolsIdentity": "name"})
    assert started(bench) == ["a"]


def test_a_stage_without_tools_keeps_its_key(bench, conda):
    bench.write("stage.py", "print(1)\n")
    bench.define(script("a"), printing("b", "true"))
    bench.succeed()
    bench.define(script("a"), printing("b", "true"), printing("c", "tool", tools=str(conda)))
    assert started(bench) == ["c"]


# ---- with nothing to do ----


@pytest.mark.parametrize("change", ["package", "record", "conda package", "python", "gone"])
def test_a_run_with_nothing_to_do_notices_a_change_without_a_plan(bench, mine, conda, change, monkeypatch):
    monkeypatch.chdir(bench.root)
    bench.define(printing("a", "true", tools=[str(conda), str(mine)]))
    bench.succeed()
    quick.settle(bench)
    assert quick.answer([str(bench.spec), "-q"]) == 0
    match change:
        case "package":
            (site_of(mine) / "new-1.dist-info").mkdir()
        case "record":
            (site_of(mine) / "pack-1.0.dist-info/RECORD").write_text("x,,\n")
        case "conda package":
            conda_package(conda, "new", "1.0")
        case "python":
            (mine / "pyvenv.cfg").write_text("version = 3.99.1\n")
        case "gone":
            conda.rename(f"{conda}.away")
    assert quick.answer([str(bench.spec), "-q"]) is None


# ---- imports ----


def test_modules_in_root_are_followed_and_other_names_belong_to_the_environment(bench, one):
    bench.write("stage.py", "import pack, helper, json\nfrom nowhere import x\nprint(pack.VERSION)\n")
    bench.write("helper.py", "import sys, types\nsys.modules['nowhere'] = types.SimpleNamespace(x=1)\n")
    bench.write("stage.py", "import helper, pack, json\nfrom nowhere import x\nprint(pack.VERSION)\n")
    bench.define(script("a", tools=str(one)), processorIdentity="content")
    assert "warning" not in bench.succeed().stderr
    code = json.loads(bench.read("state/stage_a.json"))["components"]["code"]
    assert code.keys() == {"files"} and code["files"].keys() == {"stage.py", "helper.py"}
    assert "interpreter" not in json.loads(bench.read("state/stage_a.json"))["components"]
    bench.write("helper.py", bench.read("helper.py") + b"# changed\n")
    assert started(bench) == ["a"]


@pytest.mark.parametrize("name", ["socket", "requests", "http.client", "mine"])
def test_bans_apply_by_name(bench, one, name):
    bench.write("stage.py", f"import {name}\n")
    bench.define(script("a", tools=str(one)), offline={"bannedImports": ["mine"]})
    done = bench.run()
    assert done.returncode == 4 and f"stage.py:1: import {name}" in done.stderr
    bench.define(script("a", tools=str(one)), offline={"allowImports": [name]} if name != "mine" else {})
    assert bench.run("validate").returncode == 0


# ---- what is refused ----


def refusal(bench, *words: str) -> str:
    done = bench.run(*words)
    assert done.returncode == 5, done.stderr
    assert not bench.records("attempt.started")
    return done.stderr


def test_an_editable_install_is_refused_by_name(bench, mine, tmp_path):
    install(mine, project(tmp_path / "dev", "dev", "0.1"), "-e")
    bench.define(printing("a", "true", tools=str(mine)))
    text = refusal(bench)
    assert f'spec.json: tools "{mine}": has an editable install, whose files are not known: "dev-0.1"' in text
    assert 'hint: install it without -e, or say "toolsIdentity": "name"' in text
    bench.define(printing("a", "true", tools=str(mine), toolsIdentity="name"))
    bench.succeed()


def test_an_old_editable_install_is_refused_by_name(bench, mine):
    (site_of(mine) / "dev.egg-link").write_text("/somewhere\n.\n")
    bench.define(printing("a", "true", tools=str(mine)))
    assert '"dev"' in refusal(bench)


LACKS = (
    'spec.json: tools "envs/x": is neither a venv (it lacks "pyvenv.cfg") nor a conda prefix (it lacks "conda-meta/")'
)


@pytest.mark.parametrize("identity", ["content", "name"])
def test_anything_else_is_refused_with_what_it_lacks_once_for_all_stages(bench, identity):
    bench.write("envs/x/bin/tool", TOOL, 0o755)
    bench.define(printing("a", "tool"), printing("b", "tool"), defaults={"tools": "envs/x", "toolsIdentity": identity})
    for verb in ("run", "validate"):
        text = refusal(bench, *(() if verb == "run" else (verb,)))
        assert text.count(LACKS) == 1 and "hint: name one that you made" in text


def test_a_stage_takes_none_of_the_defaults_with_an_empty_list(bench):
    bench.define(printing("a", "echo", tools=[]), defaults={"tools": "envs/gone"})
    bench.succeed()


def test_a_missing_directory_and_a_venv_without_a_version_are_refused(bench):
    bench.define(printing("a", "true", tools="envs/x"))
    assert 'tools "envs/x": no such directory' in refusal(bench)
    bench.write("envs/x/pyvenv.cfg", "home = /usr/bin\n")
    assert 'tools "envs/x": is no venv: its "pyvenv.cfg" lacks the version of its Python' in refusal(bench)


@pytest.mark.parametrize(
    ("tools", "fault"),
    [
        ("", "/tools: is empty"),
        (["a", 1], "/tools/1: must be"),
        ("{vars.x}", "/tools: {vars.x}"),
        ("{inputs.x}", ""),
    ],
)
def test_the_field_is_a_path_or_a_list_of_paths(bench, tools, fault):
    bench.define(printing("a", "true", tools=tools))
    done = bench.run("validate")
    assert done.returncode == (2 if fault else 5) and fault in done.stderr
