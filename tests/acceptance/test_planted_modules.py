"""Modules in the directory where a run starts do not shadow those of the standard library."""

import subprocess
import sys

import pytest

SCRIPT = "import sys\nfrom runner.__main__ import program\nif __name__ == '__main__':\n    sys.exit(program())\n"


@pytest.mark.parametrize("way", ["module", "module, with an option", "script", "linked script"])
def test_late_imports_ignore_the_directory_where_the_run_starts(tmp_path, way):
    place, work = tmp_path / "place", tmp_path / "work"
    place.mkdir()
    work.mkdir()
    (place / "difflib.py").write_text("open('loaded', 'w').close()\n")  # offpipe imports it late, for hints
    (work / "spec.json").write_text('{"specVersion": 1, "naem": "p", "stages": []}')
    (place / "script").write_text(SCRIPT)
    (tmp_path / "link").symlink_to(place / "script")
    start = {
        "module": ["-m", "runner"], "module, with an option": ["-B", "-m", "runner"],
        "script": [place / "script"], "linked script": [tmp_path / "link"],
    }[way]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *start, "validate", work / "spec.json"], cwd=place, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert 'did you mean "name"' in done.stderr
    assert done.returncode == 2
    assert not (place / "loaded").exists()
