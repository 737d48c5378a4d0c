"""Parameters: the form that the SDK sends, held against an explicit schema.

A schema is a dict of names; a value is `TEXT`, `INTEGER`, `FLAG`, `METADATA`, a `Choice`, a nested
schema, or a list of one of these. `needed(...)` marks what a request must have. What a schema does
not name is refused, as Stripe does.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from gateway.fake_stripe.refusals import ApiRefusal

CENTS_MIN = 50
CENTS_MAX = 99_999_999
METADATA_KEYS_MAX = 50
PARAMETERS_MAX = 1_000

Schema = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One of these words."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Needed:
    """A parameter without which a request is refused."""

    kind: Any


def choice(*words: str) -> Choice:
    """Name the words that a parameter may be."""
    return Choice(words)


def needed(kind: Any) -> Needed:
    """Mark a parameter that a request must have."""
    return Needed(kind)


def decode(form: str) -> dict[str, Any]:
    """Read `a[b][0]=c` into nested dicts; lists are dicts with numbers for names."""
    decoded: dict[str, Any] = {}
    for name, value in parse_qsl(form, keep_blank_values=True, max_num_fields=PARAMETERS_MAX):
        first, *rest = re.split(r"\]\[|\[", name.removesuffix("]"))
        place = decoded
        path = [first, *rest]
        for part in path[:-1]:
            place = place.setdefault(part or str(len(place)), {})
            if not isinstance(place, dict):
                raise _wrong(name, "Invalid object", "parameter_invalid_object")
        place[path[-1] or str(len(place))] = value
    return decoded


def check(schema: Mapping[str, Any], given: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Give the parameters with their types, or refuse the first that is wrong."""
    for name in given:
        if name not in schema:
            param = _path(within, name)
            raise ApiRefusal(
                400, f"Received unknown parameter: {param}", code="parameter_unknown", param=param
            )
    checked = {}
    for name, kind in schema.items():
        param = _path(within, name)
        if name in given:
            inner = kind.kind if isinstance(kind, Needed) else kind
            checked[name] = _value(inner, given[name], param)
        elif isinstance(kind, Needed):
            raise ApiRefusal(
                400, f"Missing required param: {param}.", code="parameter_missing", param=param
            )
    return checked


def _value(kind: Any, given: Any, param: str) -> Any:
    if isinstance(kind, Sequence):
        if not isinstance(given, Mapping):
            raise _wrong(param, "Invalid array", "parameter_invalid_array")
        return [_value(kind[0], value, f"{param}[{at}]") for at, value in given.items()]
    if isinstance(kind, Mapping):
        if not isinstance(given, Mapping):
            raise _wrong(param, "Invalid object", "parameter_invalid_object")
        return check(kind, dict(given), param)
    if isinstance(kind, Choice):
        if given not in kind.words:
            words = ", ".join(kind.words)
            raise ApiRefusal(400, f"Invalid {param}: must be one of {words}", param=param)
        return given
    read: Callable[[Any, str], Any] = kind
    return read(given, param)


def TEXT(given: Any, param: str) -> str:  # noqa: N802 - a schema reads as a table
    """Read a text, which is not empty."""
    if not isinstance(given, str):
        raise _wrong(param, "Invalid string", "parameter_invalid_string_empty")
    if not given:
        raise _wrong(param, "You passed an empty string for", "parameter_invalid_empty")
    return given


def BLANK(given: Any, param: str) -> str | None:  # noqa: N802
    """Read a text, or an empty one, which unsets what was there."""
    return TEXT(given, param) if given else None


def INTEGER(given: Any, param: str) -> int:  # noqa: N802
    """Read an integer."""
    if not isinstance(given, str) or not re.fullmatch(r"-?[0-9]{1,15}", given):
        raise _wrong(param, "Invalid integer", "parameter_invalid_integer")
    return int(given)


def CENTS(given: Any, param: str) -> int:  # noqa: N802
    """Read an amount to charge, in the smallest unit of US dollars."""
    cents = INTEGER(given, param)
    if cents < CENTS_MIN:
        raise ApiRefusal(
            400, "Amount must be at least $0.50 usd", code="amount_too_small", param=param
        )
    if cents > CENTS_MAX:
        raise ApiRefusal(
            400, "Amount must be no more than $999,999.99", code="amount_too_large", param=param
        )
    return cents


def FLAG(given: Any, param: str) -> bool:  # noqa: N802
    """Read a boolean."""
    if given not in {"true", "false"}:
        raise ApiRefusal(400, f"Invalid boolean: {given}", param=param)
    return bool(given == "true")


def METADATA(given: Any, param: str) -> dict[str, str]:  # noqa: N802
    """Read metadata: at most 50 keys of 40 characters, values of at most 500."""
    if given == "":
        return {}
    if not isinstance(given, Mapping) or any(not isinstance(text, str) for text in given.values()):
        raise _wrong(param, "Invalid metadata", "parameter_invalid_object")
    if len(given) > METADATA_KEYS_MAX:
        raise ApiRefusal(400, f"{param} can have up to 50 keys", param=param)
    for name, text in given.items():
        if len(name) > 40 or len(text) > 500:
            raise ApiRefusal(400, f"{param}[{name}] is too long", param=f"{param}[{name}]")
    return dict(given)


USD = choice("usd")
"""The one currency of this Stripe."""

_BOUNDS: Schema = {"gt": INTEGER, "gte": INTEGER, "lt": INTEGER, "lte": INTEGER}


def CREATED(given: Any, param: str) -> Any:  # noqa: N802
    """Read when something was created: a second, or bounds."""
    return check(_BOUNDS, given, param) if isinstance(given, Mapping) else INTEGER(given, param)


def LIMIT(given: Any, param: str) -> int:  # noqa: N802
    """Read how many a list may have."""
    limit = INTEGER(given, param)
    if not 1 <= limit <= 100:
        raise _wrong(param, "Invalid limit, which is 1 to 100", "parameter_invalid_integer")
    return limit


ADDRESS: Schema = dict.fromkeys(
    ("city", "country", "line1", "line2", "postal_code", "state"), BLANK
)


def _wrong(param: str, what: str, code: str) -> ApiRefusal:
    return ApiRefusal(400, f"{what}: '{param}'", code=code, param=param)


def _path(within: str, name: str) -> str:
    return f"{within}[{name}]" if within else name
