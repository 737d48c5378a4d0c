"""The SDK's own types, which the fake's parameters and objects are held against."""

import builtins
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any, ForwardRef, Literal, NotRequired, Union, get_args, get_origin

_WRAPPERS = (Union, UnionType, NotRequired, list)


class _Names(dict[str, Any]):
    """The names of a module; those that only type checkers import stand for anything."""

    def __init__(self, module: str) -> None:
        super().__init__(vars(builtins) | vars(sys.modules[module]))

    def __missing__(self, _: str) -> Any:
        return Any


@cache
def fields(of: type) -> dict[str, Any]:
    """Give the fields of a class of the SDK, with their types."""
    found: dict[str, Any] = {}
    for base in reversed(of.__mro__):
        names = _Names(base.__module__)
        for name, hint in inspect.get_annotations(base).items():
            found[name] = _resolved(hint, names)
    return found


def _resolved(hint: Any, names: _Names) -> Any:
    if isinstance(hint, ForwardRef):
        hint = hint.__forward_arg__
    return _resolved(eval(hint, {}, names), names) if isinstance(hint, str) else (hint, names)


def parts(hint: Any) -> Iterator[Any]:
    """Yield what a type may be: the members of its unions, optionals and lists."""
    hint, names = hint
    if get_origin(hint) in _WRAPPERS:
        for part in get_args(hint):
            yield from parts(_resolved(part, names))
    else:
        yield hint


def words(hint: Any) -> set[str]:
    """Give the words that a type names."""
    return {word for part in parts(hint) if get_origin(part) is Literal for word in get_args(part)}


def inner(hint: Any) -> type | None:
    """Give the class that a type is, or has a list of."""
    return next((part for part in parts(hint) if isinstance(part, type) and _is_ours(part)), None)


def _is_ours(part: type) -> bool:
    return part.__module__.startswith("stripe.") and "UntypedStripeObject" not in part.__name__


def strangers(item: Mapping[str, Any], of: type, path: str = "") -> Iterator[str]:
    """Yield what an object has and its class has not: fields, and words of an enumeration."""
    known = fields(of)
    for name, value in item.items():
        at = f"{path}.{name}"
        if name not in known:
            yield f"{at} of {of.__name__}"
            continue
        hint = known[name]
        if isinstance(value, str) and words(hint) and value not in words(hint):
            yield f"{at} = {value!r}"
        for each in value if isinstance(value, list) else [value]:
            part = inner(hint)
            if isinstance(each, Mapping) and part:
                yield from strangers(each, part, at)
