"""The checks of a spec share a launcher and nothing else, even if it is killed or stages leave processes."""

from __future__ import annotations

import importlib.util
import os

import pytest
from spec_project import SpecProject

from pytest_offpipe.runs import Around, circumstances, run_sandbox
from pytest_offpipe.sandbox import Source, lay_out
from runner.engine import Options
from runner.spec.load import load_spec
from runner.spec.model import effective_spec

pytestmark = pytest.mark.full

# Identifies the launcher of a stage: at level `kernel` by the pid namespace and, as its number may be reused, the start
# time of its process 1; at `filter` by the parent process.
WHERE = "echo $(readlink /proc/self/ns/pid) $(cut -d' ' -f22 /proc/1/stat) $PPID >>{}/where"
SHARED = """
    import os, signal
    from pytest_offpipe import runs as launchers

    launchers.circumstances = os.getpid  # on this machine others may mount what they like meanwhile

    def children():
        tasks = f"/proc/{os.getpid()}/task"
        found = [open(f"{tasks}/{task}/children").read().split() for task in os.listdir(tasks)]
        return [int(one) for each in found for one in each]
"""


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run"
    made.write("shared.py", SHARED)
    made.write("conftest.py", "import shared")
    return made


def stages(project, *names, script="cp $i $o", fields=None):
    where = WHERE.format(project.path)
    return [project.shell(f"{where}\n{script}", name=name, **(fields or {})) for name in names]


def launchers_of(project):
    return (project.path / "where").read_text().splitlines()


def test_all_checks_of_a_spec_start_their_stages_by_one_launcher(project):
    project.spec(*stages(project, "one", "two", "three"))
    project.checks = "run,outputs,retry,skip"
    project.pytest_process("it.json").assert_outcomes(passed=10)
    launchers = launchers_of(project)
    assert len(launchers) == 3 + 3 * (1 + 2)  # `run`, and `retry` before and after the work
    assert len({launcher.rpartition(" ")[0] for launcher in launchers}) == 1  # without the parent: it may be the shim


@pytest.mark.parametrize(("number", "event"), [("SIGKILL", "WEXITED"), ("SIGSTOP", "WSTOPPED")])
def test_launcher_that_is_killed_or_stopped_between_two_checks_fails_none(project, number, event):
    project.spec(*stages(project, "one", "two", "three"))
    project.write("conftest.py", f"""
        import os, signal
        from shared import children

        def pytest_runtest_teardown(item):
            if item.name == "one[run]":
                launcher = children()[0]
                os.kill(launcher, signal.{number})
                os.waitid(os.P_PID, launcher, os.{event} | os.WNOWAIT)
    """)  # fmt: skip
    project.pytest_process("it.json").assert_outcomes(passed=3)
    assert len(set(launchers_of(project))) == (2 if number == "SIGKILL" else 1)


def test_process_that_a_stage_leaves_is_reported_and_gone_before_the_next(project):
    leaves = "setsid sleep 1000 </dev/null >/dev/null 2>&1 &\ncp $i $o"
    sees = 'grep -l ^sleep /proc/[0-9]*/comm >>$here/seen || true; cp "$i" "$o"'.replace("$here", str(project.path))
    project.spec(*stages(project, "one", script=leaves), *stages(project, "two", script=sees))
    project.checks = "run,outputs"
    result = project.pytest_process("it.json")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*1 process left running, and killed"])
    assert not (project.path / "seen").read_text()
    assert len(set(launchers_of(project))) == 1


def test_two_specs_have_a_launcher_each_and_other_tests_see_none(project):
    python = {"name": "py", "processor": "python.py", "inputs": {"t": "in.txt"}, "outputs": {"t": "out/py.txt"}}
    project.write("python.py", "import os; open(os.environ['PIPELINE_OUTPUT_T'], 'w').write(os.environ['SET'])")
    first = stages(project, "one", script="echo $SET >$o", fields={"env": {"SET": "of one"}})
    project.spec(*first, python | {"env": {"SET": "of py"}}, to="a.json", name="a")
    project.spec(*stages(project, "two", script='echo "${SET-none}" >$o'), to="b.json", name="b")
    project.write("test_c.py", """
        import os
        import pytest

        def test_no_child_is_left_to_wait_for():
            with pytest.raises(ChildProcessError):
                os.wait()
    """)  # fmt: skip
    result = project.pytest_process("a.json", "test_c.py", "b.json", "--basetemp", "base", "--offpipe-strict")
    result.assert_outcomes(passed=4)
    one, two = launchers_of(project)
    assert one != two


def test_next_stage_gets_a_umask_that_changed_since(project):
    project.spec(*stages(project, "one", "two", script=f"cp $i $o; umask >>{project.path}/umasks"))
    project.write("conftest.py", """
        import os

        def pytest_runtest_teardown(item):
            os.umask(0o027)
    """)  # fmt: skip
    project.pytest_process("it.json").assert_outcomes(passed=2)
    assert (project.path / "umasks").read_text().split() == ["0022", "0027"]


def test_circumstances_are_those_of_the_calling_thread():
    priority = os.getpriority(os.PRIO_PROCESS, 0)
    before = circumstances()
    mask = os.umask(0o077)
    try:
        assert circumstances() != before
    finally:
        os.umask(mask)
    assert os.getpriority(os.PRIO_PROCESS, 0) == priority


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_each_worker_has_its_own_launcher(project):
    names = ["one", "two", "three", "four"]
    project.spec(*stages(project, *names))
    project.pytest_process("it.json", "-n", "2").assert_outcomes(passed=4)
    assert len(launchers_of(project)) == 4
    assert 1 <= len(set(launchers_of(project))) <= 2


def test_launcher_ends_with_each_session_of_a_process(project):
    project.spec(*stages(project, "one"))
    project.write("twice.py", """
        import pytest
        from shared import children

        for _ in range(2):
            assert pytest.main(["-q", "--offpipe-spec", "it.json", "--offpipe-checks", "run"]) == 0
            assert children() == []
    """)  # fmt: skip
    result = project.pytester.runpython("twice.py")
    assert result.ret == 0
    assert len(set(launchers_of(project))) == 2


def test_launcher_ends_with_a_killed_session(project):
    project.spec(*stages(project, "one", "two"))
    project.write("conftest.py", f"""
        import os, signal
        from shared import children

        def pytest_runtest_teardown(item):
            with open({str(project.path / "left")!r}, "w") as file:
                file.write(str(children()[0]))
            os.kill(os.getpid(), signal.SIGKILL)
    """)  # fmt: skip
    project.pytest_process("it.json")
    left = int((project.path / "left").read_text())
    wait_until_gone(left)


def wait_until_gone(pid):
    """Wait, by its descriptor, for the end of a process that is not our child."""
    import select

    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    ended = poll.poll(30_000)
    os.close(descriptor)
    assert ended


def test_end_of_an_attempt_is_reported_before_its_partials_are_removed(project):
    spec = load_spec(str(project.spec(project.shell("cp $i $o; exit 1"))))
    sandbox = lay_out(spec, project.path / "laid", Source(spec).files(spec.stages), effective_spec(spec))
    around, contents = Around(sandbox.home, sandbox.temporary), []

    def partials():
        return [path.read_text() for path in (project.path / "laid").rglob(".partial-*.txt")]

    around.ended = lambda _: contents.extend(partials())
    assert run_sandbox(sandbox, around, Options()).exit_code == 1
    assert contents == ["b\na\n"]
    assert not partials()
