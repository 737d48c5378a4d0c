"""Each operation is one of the SDK's, and accepts nothing that the SDK doesn't know."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from importlib import import_module
from typing import Any

import pytest
import stripe

from gateway.fake_stripe.operations import OPERATIONS, StripeOperation
from gateway.fake_stripe.parameters import METADATA, Choice, Needed
from tests.fake_stripe.shapes import fields, inner, words


@cache
def client() -> Any:
    return stripe.StripeClient("sk_test_x", http_client=stripe.HTTPXClient())


def sdk_parameters(operation: StripeOperation) -> type | None:
    """Find the type of what the SDK's method of this name takes."""
    path = operation.name if operation.name.startswith("v2.") else f"v1.{operation.name}"
    method = reduce(getattr, path.split("."), client())
    taken = inspect.signature(method).parameters.get("params")
    if taken is None:
        return None
    ((name),) = re.findall(r"\w+Params", str(taken.annotation))
    home = method.__module__.rpartition(".")[0].replace("stripe", "stripe.params", 1)
    found: type = getattr(import_module(home), name)
    return found


def wrong(schema: Mapping[str, Any], of: type, path: str = "") -> Iterator[str]:
    known = fields(of)
    required = getattr(of, "__required_keys__", frozenset())
    for name in required - {name for name, kind in schema.items() if isinstance(kind, Needed)}:
        yield f"{path}.{name} is needed"
    for name, given in schema.items():
        at = f"{path}.{name}"
        if name not in known:
            yield f"{at} is unknown"
            continue
        kind = given.kind if isinstance(given, Needed) else given
        kind = kind[0] if isinstance(kind, list) else kind
        if isinstance(kind, Choice) and words(known[name]):
            yield from (f"{at} can't be {word}" for word in set(kind.words) - words(known[name]))
        if isinstance(kind, Mapping):
            part = inner(known[name])
            yield from wrong(kind, part, at) if part else [f"{at} has nothing in it"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_parameters_are_the_sdks(operation: StripeOperation):
    of = sdk_parameters(operation)
    assert (list(wrong(operation.schema, of)) if of else list(operation.schema)) == []


def test_a_stray_parameter_would_be_seen():
    create = next(each for each in OPERATIONS if each.name == "checkout.sessions.create")
    schema = {
        **create.schema,
        "payment_method_types": [METADATA],
        "mode": Choice(("payment", "gift")),
        "automatic_tax": {"enabled": METADATA, "rate": METADATA},
    }
    of = sdk_parameters(create)
    assert of
    assert list(wrong(schema, of)) == [
        ".automatic_tax.enabled is needed",
        ".automatic_tax.rate is unknown",
        ".mode can't be gift",
        ".payment_method_types is unknown",
    ]
