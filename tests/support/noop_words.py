"""Answers a command line the quick way, if there is nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_bench import wait_for

from runner.__main__ import quick_answer
from runner.cli.parser import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_bench import PipelineBench


def answer(words: Sequence[str]) -> int | None:
    """The exit code of the quick way; None if it leaves the words to the normal way."""
    return quick_answer(read(words))


def settle(bench: PipelineBench) -> None:
    """Run until the quick way answers: files have to be old enough that a change would show."""
    wait_for(lambda: answer([str(bench.spec), "-q"]) == 0 or (bench.run() and False), "the quick way never answers")
