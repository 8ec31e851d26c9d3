"""Which parameters of a test are left to `./run_tests.sh --full`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

T = TypeVar("T")


def full_but(values: Iterable[T], default: Collection[T]) -> list[object]:
    """Return all values as parameters; those that are not in `default` are marked full.

    For a test with one list of parameters, `full_after(count)` is simpler: it counts the cases of the whole test.
    """
    return [value if value in default else pytest.param(value, marks=pytest.mark.full) for value in values]
