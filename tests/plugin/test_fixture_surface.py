"""What users read and import: `pytest --fixtures`, `pytest --markers`, and classes for annotations."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from spec_project import LEFT_OUT

import pytest_offpipe

FIXTURES = (
    "offpipe", "offpipe_audit", "offpipe_clock", "offpipe_faults", "offpipe_offline", "offpipe_run", "offpipe_spec",
    "offpipe_state_dir",
)  # fmt: skip
TYPED = """
    from pathlib import Path

    from pytest_offpipe import (
        Attempt, NetworkRefusedError, Offpipe, OffpipeAudit, OffpipeClock, OffpipeFaults, OffpipeOffline, OffpipeSpec,
        Output, ProgramReport, RunReport, StageReport,
    )


    def test_all(
        offpipe: Offpipe, offpipe_spec: OffpipeSpec, offpipe_faults: OffpipeFaults, offpipe_clock: OffpipeClock,
        offpipe_offline: OffpipeOffline, offpipe_audit: OffpipeAudit, offpipe_run: RunReport, offpipe_state_dir: Path,
    ) -> None:
        offpipe_spec.stage("clean")["params"] = {"mode": "upper"}
        offpipe_faults.exit_code("clean", 75, times=2, when="after")
        offpipe_faults.kill("clean", at_checkpoint=1)
        offpipe_faults.disk_full("clean", after_bytes=1)
        offpipe_faults.slow("clean", 0.5)
        offpipe_faults.corrupt(offpipe_state_dir / "x", -1)
        stage: StageReport = offpipe.stage(
            offpipe_spec, "clean", inputs={"text": b"a", "more": "b", "tree": {"a": "b", "c": Path("d")}}
        )
        output = stage.outputs["text"]
        assert output == b"a" and isinstance(output, Output) and output.lines == [b"a"]
        run: RunReport = offpipe.run({"name": "x"}, stages="clean", params={"clean": {"k": 1}}, inputs={"a/b": "c"})
        ended: ProgramReport = offpipe.cli("run", offpipe_spec, Path("x"))
        try:
            with offpipe_offline.expect() as found:
                first: Attempt = found[0]
        except NetworkRefusedError:
            pass
        offpipe_audit.assert_events(run, "run.start", {"ev": "stage.commit", "stage": first.target})
        assert sum(offpipe_clock.slept) + len(ended.stdout) + offpipe_audit.verify(offpipe_run).runs
"""


def test_every_fixture_and_marker_is_explained(pytester: pytest.Pytester) -> None:
    listed = pytester.runpytest_inprocess("--fixtures", *LEFT_OUT).stdout.str()
    for name in FIXTURES:
        assert f"\n{name} -- " in listed  # pytest shows only the first paragraph of each
    for phrase in (
        '.stage(spec, "clean", inputs={"text": b"a\\nb\\n"}',
        "asyncio",
        "`subprocess`",
        ".unfired",
        ".slept",
    ):
        assert phrase in listed
    assert set(re.findall(r"^(offpipe\w*)(?: \[.*\])? -- ", listed, re.MULTILINE)) == set(FIXTURES)
    page = (Path(pytest_offpipe.__file__).parents[1] / "docs/pytest-fixtures.md").read_text(encoding="utf-8")
    assert [name for name in FIXTURES if name not in page] == []
    assert "_offpipe_test" not in listed
    markers = pytester.runpytest_inprocess("--markers", *LEFT_OUT).stdout.str()
    for marker in (
        "offpipe:",
        "offpipe_spec(path, params={}, inputs=None):",
        "offpipe_fault(kind, stage, **arguments):",
    ):
        assert f"@pytest.mark.{marker}" in markers


def test_what_is_exported_can_be_imported_and_costs_nothing_until_then() -> None:
    exported = [name for name in dir(pytest_offpipe) if name[0].isupper() and name != "TYPE_CHECKING"]
    assert len(exported) >= 14
    for name in exported:
        member = getattr(pytest_offpipe, name)
        assert member.__name__ == name and member.__doc__
    with pytest.raises(AttributeError, match="module 'pytest_offpipe' has no attribute 'Nonsense'"):
        _ = pytest_offpipe.Nonsense
    program = (
        "import sys, pytest_offpipe; print(*[name for name in sys.modules if name.startswith(('pytest', 'runner'))])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["pytest_offpipe"]


@pytest.mark.full
def test_a_type_checker_accepts_the_exported_classes(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    (tmp_path / "test_typed.py").write_text(textwrap.dedent(TYPED))
    options = ["--strict", "--cache-dir", str(tmp_path / "cache"), "--config-file", ""]
    out, err, code = api.run([*options, str(tmp_path / "test_typed.py")])
    assert (code, err) == (0, ""), out
    assert (Path(pytest_offpipe.__file__).parent / "py.typed").exists()
