"""scripts/setup.sh, which both run_*.sh source: it installs once, and says what to do if it cannot go on.

A real installation needs an index or a directory of wheels, so a stand-in for Python records its command lines.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash")
TOOLS = ["cat", "cksum", "dirname", "flock", "mkdir", "rm", "tr"]

pytestmark = pytest.mark.skipif(BASH is None, reason="no bash here")

# Appends its command lines to $ASKED, and answers as Python would. `-m venv DIR` makes DIR/bin/python a copy of itself.
STAND_IN = """#!{bash}
printf '%s\\n' "$*" >>"$ASKED"
case "$*" in
  *version_info*) echo "${{NEW_ENOUGH:-True}}" ;;
  *ensurepip.version*) exit "${{WITHOUT_ENSUREPIP:-0}}" ;;
  *'-m venv'*)
    [ -z "${{VENV_FAILS:-}}" ] || exit 1
    mkdir -p "${{!#}}/bin" && cat "$0" >"${{!#}}/bin/python" && "{chmod}" +x "${{!#}}/bin/python" ;;
  *'-m pip install'*) echo "${{PIP_SAYS:-}}"; exit "${{PIP_FAILS:-0}}" ;;
esac
"""


class Machine:
    """A checkout with only what set-up needs, and a PATH with only a few tools."""

    def __init__(self, place: Path) -> None:
        self.checkout = place / "check out"
        self.tools = place / "bin"
        self.log = place / "asked"
        (self.checkout / "scripts").mkdir(parents=True)
        self.tools.mkdir()
        for name in ("pyproject.toml", "scripts/setup.sh"):
            shutil.copy(ROOT / name, self.checkout / name)
        for tool in TOOLS:
            path = shutil.which(tool)
            if path:
                (self.tools / tool).symlink_to(path)

    def add_python(self, name: str = "python3") -> None:
        program = self.tools / name
        program.write_text(STAND_IN.format(bash=BASH, chmod=shutil.which("chmod")))
        program.chmod(0o755)

    def start(self, mode: str = "demo", **settings: str) -> subprocess.Popen[str]:
        script = 'set -euo pipefail; . "$0/scripts/setup.sh"; setup "$1"; echo "ready $python"'
        environment = {"PATH": str(self.tools), "ASKED": str(self.log), **settings}
        command = [BASH, "-c", script, str(self.checkout), mode]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, cwd=self.tools, stdout=pipe, stderr=pipe, text=True)

    def set_up(self, mode: str = "demo", **settings: str) -> tuple[int, str, str]:
        process = self.start(mode, **settings)
        output, errors = process.communicate()
        return process.returncode, output, errors

    def installs(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "-m pip install" in line]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_installs_once_and_is_ready_at_once_the_second_time(machine) -> None:
    machine.add_python()
    assert machine.set_up()[:2] == (0, f"ready {machine.checkout}/.venv/bin/python\n")
    code, _, errors = machine.set_up()
    assert (code, errors, len(machine.installs())) == (0, "", 1)


def test_what_the_tests_need_includes_what_the_demo_needs(machine) -> None:
    machine.add_python()
    machine.set_up("test")
    assert machine.set_up("demo")[2] == ""
    assert [line.endswith("check out[test]") for line in machine.installs()] == [True]


def test_changed_requirements_are_installed(machine) -> None:
    machine.add_python()
    machine.set_up()
    with (machine.checkout / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    machine.set_up()
    assert len(machine.installs()) == 2


def test_two_first_calls_at_once_install_once(machine) -> None:
    machine.add_python()
    both = [machine.start(), machine.start()]
    assert [process.communicate()[0][:5] for process in both] == ["ready", "ready"]
    assert len(machine.installs()) == 1


def test_directory_of_wheels_shuts_the_index_out(machine, tmp_path) -> None:
    machine.add_python()
    (tmp_path / "wheels").mkdir()
    assert machine.set_up(OFFPIPE_WHEELS="../wheels")[0] == 0
    assert f"--no-index --find-links {tmp_path}/wheels --editable" in machine.installs()[0]


def test_python_without_ensurepip_is_passed_over_when_another_has_it(machine) -> None:
    machine.add_python("python3")
    machine.add_python("python3.12")
    old = machine.tools / "python3"
    old.write_text(old.read_text().replace("WITHOUT_ENSUREPIP:-0", "WITHOUT_ENSUREPIP:-1"))
    assert f"making .venv with {machine.tools}/python3.12\n" in machine.set_up()[2]


@pytest.mark.parametrize(
    ("settings", "fact", "hint"),
    [
        ({"NEW_ENOUGH": "False"}, "error: no Python 3.11 or newer", "apt-get install python3 python3-venv"),
        ({"WITHOUT_ENSUREPIP": "1"}, "that can make virtual environments", "apt-get install python3 python3-venv"),
        ({"OFFPIPE_PYTHON": "/nonesuch"}, "error: no Python 3.11 or newer", "OFFPIPE_PYTHON=/path/to/python3"),
        ({"OFFPIPE_WHEELS": "nonesuch"}, "error: OFFPIPE_WHEELS=nonesuch: no such directory", "CONTRIBUTING.md"),
        (
            {"PIP_FAILS": "1", "PIP_SAYS": "no matching"},
            "no matching\nerror: cannot install into",
            "OFFPIPE_WHEELS=DIR",
        ),
        ({"VENV_FAILS": "1"}, "error: cannot make", "is there room"),
    ],
)
def test_says_what_is_missing_and_what_to_do(machine, settings, fact, hint) -> None:
    machine.add_python()
    code, _, errors = machine.set_up(**settings)
    assert code == 1
    assert fact in errors
    assert errors.splitlines()[-1].startswith("hint: ")
    assert hint in errors.splitlines()[-1]


def test_failed_install_is_tried_again(machine) -> None:
    machine.add_python()
    machine.set_up(PIP_FAILS="1")
    assert machine.set_up()[0] == 0
    assert len(machine.installs()) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_checkout_is_one_clear_line(machine) -> None:
    machine.add_python()
    machine.checkout.chmod(0o555)
    code, _, errors = machine.set_up()
    machine.checkout.chmod(0o755)
    assert (code, errors.splitlines()[0]) == (1, f"error: {machine.checkout}: cannot write .venv here")


def test_venv_that_does_not_run_or_was_moved_is_made_again(machine, tmp_path) -> None:
    machine.add_python()
    machine.set_up()
    (machine.checkout / ".venv" / "bin" / "python").unlink()
    assert "making .venv with" in machine.set_up()[2]
    machine.checkout = machine.checkout.rename(tmp_path / "moved")
    assert "making .venv with" in machine.set_up()[2]
