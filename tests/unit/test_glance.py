"""What a spec that nobody has read seems to ask for; plain command lines are in test_cli_invocation."""

import json
import os

import pytest

from runner.glance import has_python


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
