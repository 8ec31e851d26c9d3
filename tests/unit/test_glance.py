"""What a spec that nobody has read seems to ask for; plain command lines are in test_cli_invocation."""

import json
import os

import pytest

from runner.glance import imported_by, python_processors


@pytest.mark.parametrize(
    ("stages", "python"),
    [
        (
            [{"processor": "a.sh"}, {"processor": "b.py"}, {"processor": "c.py"}, {"processor": "b.py"}],
            ["b.py", "c.py"],
        ),
        ([{"processor": "offpipe:stage_copy.py", "params": {"processor": "x"}}], ["offpipe:stage_copy.py"]),
        ([{"processor": "a.sh"}, {"command": ["python", "b.py"]}], []),
        ([{"processor": "a.py", "freshInterpreter": True}, {"freshInterpreter": True, "processor": "b.py"}], []),
        ([{"processor": "a.py", "freshInterpreter": True}, {"processor": "b.py"}], ["a.py", "b.py"]),
        ([], []),
    ],
)
def test_a_glance_at_a_spec_tells_which_python_is_forked(tmp_path, stages, python):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"stages": stages}, indent=1))
    assert python_processors(str(path)) == python


def test_a_glance_at_no_spec_tells_nothing_and_takes_nothing_away(tmp_path):
    (tmp_path / "other.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "pipe", os.O_WRONLY)
    os.write(writer, b'{"stages": []}')
    for name in ("other.json", "pipe", "missing", "nul\0"):
        assert python_processors(f"{tmp_path}/{name}") is None
    assert os.read(reader, 100) == b'{"stages": []}'
    os.close(reader)
    os.close(writer)


def test_a_glance_opens_no_pipe_whose_writer_would_take_it_for_the_reader(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "spec.json")
    opened = []
    monkeypatch.setattr(os, "open", lambda *words: opened.append(words))
    assert python_processors(f"{tmp_path}/spec.json") is None
    assert opened == []


def test_a_glance_at_processors_tells_what_they_import_at_once(tmp_path):
    (tmp_path / "one.py").write_text(
        "import json, re as r\nfrom collections.abc import Sequence\nfrom runner import sdk\nx = 1\n    import late\n"
    )
    (tmp_path / "two.py").write_bytes(b"import \xff\nimport " + b"x" * 1000 + b"\nfrom \nimport \nfrom . import me\n")
    names = imported_by(f"{tmp_path}/spec.json", ["one.py", "missing.py", "two.py"])
    assert {"json", "re", "collections.abc", "runner.sdk"} <= set(names)
    assert "late" not in names
    assert max(map(len, names)) < 100


def test_a_glance_at_many_imports_ends(tmp_path):
    (tmp_path / "one.py").write_text("".join(f"import m{number}\n" for number in range(10_000)))
    assert len(imported_by(f"{tmp_path}/spec.json", ["one.py"] * 9)) == 100
