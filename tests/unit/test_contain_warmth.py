"""What a launcher of Python stages is started in, known before the spec is read."""

import json
import os
import sys

import pytest

from runner.contain.warmth import editable_mappings, has_python, sdk_path

STANDARD = ("/usr/lib/python311.zip", "/usr/lib/python3.11", "/usr/lib/python3.11/lib-dynload")


def test_an_installed_package_needs_no_pythonpath():
    path = ["/cwd", *STANDARD, "/venv/site-packages", "/work/from-a-pth-file"]
    assert sdk_path("/venv/site-packages", path, standard_library=STANDARD) is None
    assert sdk_path("/work/from-a-pth-file", path, standard_library=STANDARD) is None


def test_what_only_this_process_has_on_its_path_is_passed_on():
    path = ["/checkout", *STANDARD, "/venv/site-packages"]
    assert sdk_path("/checkout", path, standard_library=STANDARD) == "/checkout"
    assert sdk_path("/elsewhere", path, standard_library=STANDARD) == "/elsewhere"
    assert sdk_path("/checkout", ["/checkout"], standard_library=STANDARD) == "/checkout"


def test_an_editable_finder_provides_the_package():
    finder = type(sys)("__editable___pytest_offpipe_0_1_finder")
    finder.MAPPING = {"runner": "/checkout/runner"}
    mappings = editable_mappings({finder.__name__: finder, "os": os})
    assert sdk_path("/checkout", ["/checkout", *STANDARD], standard_library=STANDARD, editable=mappings) is None
    assert sdk_path("/other", ["/other", *STANDARD], standard_library=STANDARD, editable=mappings) == "/other"


@pytest.mark.parametrize(
    ("stages", "python"),
    [
        ([{"processor": "a.sh"}, {"processor": "b.py"}], True),
        ([{"processor": "offpipe:stage_copy.py", "params": {"processor": "x"}}], True),
        ([{"processor": "a.sh"}, {"command": ["python", "b.py"]}], False),
        ([], False),
    ],
)
def test_a_glance_at_a_spec_tells_whether_python_is_forked(tmp_path, stages, python):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"stages": stages}, indent=1))
    assert has_python(str(path)) is python


def test_a_glance_at_no_spec_tells_nothing_and_takes_nothing_away(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "pipe", os.O_WRONLY)
    os.write(writer, b'{"stages": []}')
    for name in ("other.json", "pipe", "missing", "nul\0"):
        assert has_python(f"{tmp_path}/{name}") is None
    assert os.read(reader, 100) == b'{"stages": []}'
    os.close(reader)
    os.close(writer)


def test_a_glance_opens_no_pipe_whose_writer_would_take_it_for_the_reader(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "spec.json")
    opened = []
    monkeypatch.setattr(os, "open", lambda *words: opened.append(words))
    assert has_python(f"{tmp_path}/spec.json") is None
    assert opened == []
