"""A project with a stage of one program in it, and the checks made of it: for the tests of each check."""

import json
import sys
import textwrap

import offline_deny
from spec_project import LEFT_OUT

TEXT = "".join(f"line {number} of a text\n" for number in range(200))
SHELL = ["sh", "-e"]

# Copies line by line, and lets go of each at once, as a stage does that is to be found in mid-work.
SLOW = """
    import os, time
    with open(os.environ["PIPELINE_INPUT_TEXT"]) as source, open(os.environ["PIPELINE_OUTPUT_TEXT"], "w") as to:
        for line in source:
            to.write(line)
            to.flush()
            time.sleep(0.002)
"""

# Lays what would end it to sleep until it is done, so that this certainly comes too late.
TOO_FAST = """
    if grep -q shim.py /proc/$PPID/cmdline; then
        kill -STOP $PPID
        (sleep 0.2; kill -CONT $PPID) &
    fi
    cat "$i" > "$o"
"""


class CheckedStage:
    """Makes checks of a stage `work`, which reads `text` (in.txt) and writes `text` (out.txt)."""

    def __init__(self, pytester):
        self.pytester = pytester
        self.stage = {
            "name": "work", "processor": "work.py", "inputs": {"text": "in.txt"}, "outputs": {"text": "out.txt"}
        }  # fmt: skip
        self.text = TEXT

    def python(self, source, **fields):
        """Let it be this program."""
        (self.pytester.path / "work.py").write_text(textwrap.dedent(source), encoding="utf-8")
        self.stage.update(fields)
        return self

    def shell(self, source, **fields):
        """Let it be this script of sh; $i and $o are its input and output."""
        text = "i=$PIPELINE_INPUT_TEXT o=$PIPELINE_OUTPUT_TEXT\n" + textwrap.dedent(source)
        (self.pytester.path / "work.sh").write_text(text, encoding="utf-8")
        del self.stage["processor"]
        self.stage.update({"command": [*SHELL, "work.sh"], **fields})
        return self

    def check(self, name, *arguments):
        """Make one check, and return the result as pytester has it."""
        return self.pytester.runpytest_inprocess(*self._arguments(name), *arguments)

    def check_denied(self, name, *arguments):
        """Make one check in a process that can have no namespaces."""
        python = [sys.executable, offline_deny.__file__, sys.executable]
        return self.pytester.run(*python, "-m", "pytest", *self._arguments(name), *arguments)

    def _arguments(self, name):
        (self.pytester.path / "in.txt").write_text(self.text, encoding="utf-8")
        spec = {"specVersion": 1, "name": "checked", "stages": [self.stage]}
        (self.pytester.path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        return [*LEFT_OUT, "-p", "no:cacheprovider", "-rs", "--offpipe-spec", "spec.json", "--offpipe-checks", name]

    def finds(self, name, *lines):
        """Make one check, which has to fail, and to say these lines, patterns as of fnmatch, in this order."""
        result = self.check(name)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(lines)

    def passes(self, name, *arguments):
        """Make one check, which has to pass."""
        result = self.check(name, *arguments)
        result.assert_outcomes(passed=1)
        return result
