"""Gives the quick answer to a command line, if there is nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_bench import wait_for

from runner.__main__ import quick_answer
from runner.cli.parser import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_bench import PipelineBench


def answer(words: Sequence[str]) -> int | None:
    """Return the exit code of the quick answer; None if the words need a full run."""
    return quick_answer(read(words))


def settle(bench: PipelineBench, *words: str) -> None:
    """Run until there is a quick answer: files have to be old enough that a change would show."""
    command = [str(bench.spec), "-q", *words]
    wait_for(lambda: answer(command) == 0 or (bench.run(*words) and False), "a quick answer")
