"""The answer to a command line for which there may be nothing to do, as the words of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner import noop
from runner.arguments import plain_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence


def answer(words: Sequence[str]) -> int | None:
    """What the quick way answers, None where it leaves the words to the long way."""
    arguments = plain_arguments(words)
    return noop.answer(arguments) if arguments else None
