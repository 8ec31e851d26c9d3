"""Makes a project with one stage and runs checks of it, for the tests of each check."""

import json
import sys
import textwrap

import offline_deny
from spec_project import LEFT_OUT

TEXT = "".join(f"line {number} of a text\n" for number in range(200))
SHELL = ["sh", "-e"]

# Copies line by line and flushes each line, so that a check can interrupt its work.
SLOW = """
    import os, time
    with open(os.environ["PIPELINE_INPUT_TEXT"]) as source, open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
        for line in source:
            to.write(line)
            to.flush()
            time.sleep(0.002)
"""

# Stops the process that would end it until it is done, so that the end certainly comes too late.
TOO_FAST = """
    if grep -q shim.py /proc/$PPID/cmdline; then
        kill -STOP $PPID
        (sleep 0.2; kill -CONT $PPID) &
    fi
    cat "$i" > "$o"
"""


class CheckedStage:
    """Runs checks of a stage `work`, which reads `text` (in.txt) and writes `text` (out.txt)."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.stage = {
            "name": "work", "processor": "work.py", "inputs": {"text": "in.txt"}, "outputs": {"text": "out.txt"}
        }  # fmt: skip
        self.text = TEXT

    def python(self, source, **fields):
        """Make the stage this Python program."""
        (self.pytester.path / "work.py").write_text(textwrap.dedent(source), encoding="utf-8")
        self.stage.update(fields)
        return self

    def shell(self, source, **fields):
        """Make the stage this sh script; $i and $o are its input and output."""
        text = "i=$PIPELINE_INPUT_TEXT o=$PIPELINE_OUTPUT_TEXT\n" + textwrap.dedent(source)
        (self.pytester.path / "work.sh").write_text(text, encoding="utf-8")
        del self.stage["processor"]
        self.stage.update({"command": [*SHELL, "work.sh"], **fields})
        return self

    def check(self, name, *arguments):
        """Run one check, and return pytester's result."""
        return self.pytester.runpytest_inprocess(*self._arguments(name), *arguments)

    def check_denied(self, name, *arguments):
        """Run one check in a process that cannot make namespaces."""
        python = [sys.executable, offline_deny.__file__, sys.executable]
        return self.pytester.run(*python, "-m", "pytest", *self._arguments(name), *arguments)

    def _arguments(self, name):
        (self.pytester.path / "in.txt").write_text(self.text, encoding="utf-8")
        spec = {"specVersion": 1, "name": "checked", "stages": [self.stage]}
        (self.pytester.path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        return [*LEFT_OUT, "-p", "no:cacheprovider", "-rs", "--offpipe-spec", "spec.json", "--offpipe-checks", name]

    def finds(self, name, *lines):
        """Run one check, which must fail and print these lines (patterns of fnmatch) in this order."""
        result = self.check(name)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(lines)

    def passes(self, name, *arguments):
        """Run one check, which must pass, and return its result."""
        result = self.check(name, *arguments)
        result.assert_outcomes(passed=1)
        return result
