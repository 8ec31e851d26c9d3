"""A project with specs on which pytest runs: for tests of collection and of the plain checks."""

import json
import textwrap

import pytest_offpipe.checks.undisturbed
import pytest_offpipe.collect  # noqa: F401 - loaded once, and not by each run of pytest in this process

COPY = {
    "name": "copy", "command": ["cp", "{inputs.text}", "{outputs.text}"],
    "inputs": {"text": "in.txt"}, "outputs": {"text": "out/copy.txt"},
}  # fmt: skip
SORT = {
    "name": "sort", "command": ["sort", "-o", "{outputs.text}", "{inputs.text}"],
    "inputs": {"text": "out/copy.txt"}, "outputs": {"text": "out/sorted.txt"},
}  # fmt: skip
RERUNS = """
    from importlib import import_module

    def pytest_runtest_protocol(item, nextitem):  # as pytest-rerunfailures does
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for item.execution_count in (1, 2):
            reports = import_module("_pytest.runner").runtestprotocol(item, nextitem=nextitem, log=False)
            if not any(report.failed for report in reports):
                break
            item._initrequest()
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""
PLAIN = ("run", "outputs")
LEFT_OUT = ("-p", "no:randomly", "-p", "no:hypothesispytest")  # order matters here, and these load slowest


class SpecProject:
    """A directory with an input and specs, in which pytest runs."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path
        self.checks = "run,outputs"
        self.path.joinpath("pytest.ini").write_text("[pytest]\n")
        self.write("in.txt", "b\na\n")

    def write(self, name, text, mode=0o644):
        """Write a file, with its directories."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        path.chmod(mode)
        return path

    def spec(self, *stages, to="it.json", **fields):
        """Write a spec of these stages; by default, one copies and one sorts."""
        content = {"specVersion": 1, "name": "it", "stages": list(stages or (COPY, SORT)), **fields}
        return self.write(to, json.dumps(content, indent=1))

    def shell(self, script, name="work", inputs=None, outputs=None, **fields):
        """Return a stage that runs a script of sh; $i and $o are the input and the output called text."""
        text = f"i=$PIPELINE_INPUT_TEXT o=$PIPELINE_OUTPUT_TEXT\n{textwrap.dedent(script)}"
        self.write(f"{name}.sh", text)
        made = {"name": name, "command": ["sh", "-e", f"{name}.sh"], **fields}
        return made | {"inputs": inputs or {"text": "in.txt"}, "outputs": outputs or {"text": f"out/{name}.txt"}}

    def ini(self, text):
        """Put settings into pytest.ini."""
        self.write("pytest.ini", f"[pytest]\n{textwrap.dedent(text)}")

    def pytest(self, *arguments, checks=True):
        """Run pytest in this process, with self.checks if `checks`, else with what the arguments say."""
        given = ["--offpipe-checks", self.checks] if checks else []
        return self.pytester.runpytest_inprocess(*LEFT_OUT, *given, *map(str, arguments))

    def pytest_process(self, *arguments, timeout=120, checks=True):
        """Run pytest in its own process; after `timeout` seconds it is killed, and the test fails."""
        given = ["--offpipe-checks", self.checks] if checks else []
        return self.pytester.runpytest_subprocess(*LEFT_OUT, *given, *map(str, arguments), timeout=timeout)

    def collected(self, *arguments, checks=True):
        """Return the node ids that are collected."""
        result = self.pytest("--collect-only", "-q", *arguments, checks=checks)
        return [line for line in result.outlines if "::" in line]


def ids(spec="it.json", stages=("copy", "sort"), checks=PLAIN):
    """Return the node ids of checks of stages."""
    return [f"{spec}::{stage}[{check}]" for stage in stages for check in checks]
