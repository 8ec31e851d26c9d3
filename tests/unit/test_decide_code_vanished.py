"""Code that goes while it is looked at."""

from __future__ import annotations

import json
import os

import pytest

from runner.decide.code import CodeReader
from runner.decide.digests import DigestCache
from runner.errors import InputError
from runner.spec.load import load_spec


def test_a_processor_that_vanishes_after_it_was_read_is_an_unusable_input(tmp_path) -> None:
    processor = tmp_path / "tool.py"
    processor.write_text("print(1)\n")
    stage = {"name": "a", "processor": "tool.py", "outputs": ["out.txt"]}
    (tmp_path / "p.json").write_text(json.dumps({"specVersion": 1, "name": "p", "stages": [stage]}))
    spec = load_spec(str(tmp_path / "p.json"))

    def remove(_size: int) -> None:
        if processor.exists():
            os.unlink(processor)

    with pytest.raises(InputError) as caught:
        CodeReader(spec, DigestCache(tick=remove), frozenset()).read(spec.stages[0])
    assert str(caught.value) == "error: tool.py: cannot read it: No such file or directory"
