"""Values: classes that are a list of named fields and little else, declared as dataclasses are.

`dataclasses` writes the methods of each class as text and compiles that, which with the modules that it loads took a
sixth of what a run needs beside its stages. Here all classes share the same few methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self


class _Made:
    """The default of a field that is made anew for each instance."""

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


def made(*, default_factory: Callable[[], Any]) -> Any:  # noqa: ANN401 - type checkers see the field's own type
    """Declare a field whose default is made anew for each instance: a list, a dict."""
    return _Made(default_factory)


class _Declared(type):
    """Turns the annotations of a class into its slots, and what is assigned to them into defaults."""

    _setters: tuple[Callable[[object, object], None], ...]

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _Declared:
        if any(vars(base).get("__slots__") for base in bases):
            raise TypeError(f"{name} cannot add to the fields of a class that has some")
        fields = tuple(namespace.get("__annotations__", ()))  # is there by `from __future__ import annotations` only
        namespace["_defaults"] = {field: namespace.pop(field) for field in fields if field in namespace}
        namespace["__slots__"] = namespace["__match_args__"] = fields
        declared = super().__new__(cls, name, bases, namespace)
        declared._setters = tuple(vars(declared)[field].__set__ for field in fields)  # also of what cannot be set anew
        return declared


class _Fields(metaclass=_Declared):  # noqa: PLW1641 - only what stays as it is has a hash
    """What values and records have in common."""

    if TYPE_CHECKING:
        __slots__: tuple[str, ...]
        _defaults: dict[str, object]
        _setters: tuple[Callable[[object, object], None], ...]

    def __init__(self, *given: object, **named: object) -> None:
        """Take the fields in their order, or by name."""
        fields, setters, defaults = self.__slots__, self._setters, self._defaults
        for put, value in zip(setters, given, strict=False):
            put(self, value)
        for field, put in zip(fields[len(given) :], setters[len(given) :], strict=True):
            if field in named:
                value = named.pop(field)
            elif field in defaults:
                value = defaults[field]
                if type(value) is _Made:
                    value = value.make()
            else:
                raise TypeError(f"{type(self).__name__} is not given its {field}")
            put(self, value)
        if named or len(given) > len(fields):
            more = ", ".join(named) or f"{len(given)} values for {len(fields)}"
            raise TypeError(f"{type(self).__name__} is given more than its fields: {more}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return tuple(self._values()) == tuple(other._values())

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in self.__slots__)
        return f"{type(self).__name__}({shown})"

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), tuple(self._values())

    def _values(self) -> Iterator[object]:
        return (getattr(self, field) for field in self.__slots__)

    def replace(self, **changes: object) -> Self:
        """Return another of the kind, in which these fields are different."""
        return type(self)(**{**dict(zip(self.__slots__, self._values(), strict=True)), **changes})


@dataclass_transform(field_specifiers=(made,))
class Record(_Fields):
    """Named fields that can be set anew."""


@dataclass_transform(frozen_default=True, field_specifiers=(made,))
class Value(_Fields):
    """Named fields that stay as they were given; equal ones can stand for each other."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be set: it is a value")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be deleted: it is a value")

    def __hash__(self) -> int:
        return hash(tuple(self._values()))
