"""What all applications of a run compute alike, computed once: templates, and handlers' signatures.

A run makes hundreds of applications. Reading what each handler asks for took half of the time to
make one. Who wants it calls `share()` once, before the first application.
"""

import inspect
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import jinja2
from jinja2.bccache import Bucket, BytecodeCache
from litestar._signature.model import SignatureModel
from litestar.utils.signature import ParsedSignature

from gateway.control_plane.web import rendering


def share() -> None:
    """Let all applications of this process share what they compute alike."""
    rendering.Environment = partial(  # type: ignore[attr-defined,assignment]
        jinja2.Environment, bytecode_cache=CompiledTemplates()
    )
    ParsedSignature.from_fn = _once(ParsedSignature.from_fn, _key_of_signature)  # type: ignore[method-assign]
    SignatureModel.create = _once(SignatureModel.create, _key_of_model)  # type: ignore[method-assign]


class CompiledTemplates(BytecodeCache):
    """Templates compiled once a run, not once for each of its hundreds of applications."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give what was compiled."""
        if compiled := self._compiled.get(bucket.key):
            bucket.bytecode_from_string(compiled)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        self._compiled[bucket.key] = bucket.bytecode_to_string()


def _once(compute: Callable[..., Any], key: Callable[..., Hashable]) -> Callable[..., Any]:
    """Return a function that computes once for each key, and each time where the key is None."""
    computed: dict[Hashable, Any] = {}

    def look_up(*given: Any, **named: Any) -> Any:
        if (at := key(*given, **named)) is None:
            return compute(*given, **named)
        if at not in computed:
            computed[at] = compute(*given, **named)
        return computed[at]

    return look_up


def _key_of_signature(fn: Any, signature_namespace: dict[str, Any]) -> Hashable:
    declared = _declared(fn)
    return declared and (declared, frozenset(signature_namespace))


def _key_of_model(
    dependency_name_set: set[str],
    fn: Any,
    parsed_signature: ParsedSignature,
    data_dto: Any,
    type_decoders: Any,
) -> Hashable:
    declared = _declared(fn)
    decoders = tuple(type_decoders or ())
    same = _Same(parsed_signature)
    return declared and (declared, frozenset(dependency_name_set), same, data_dto, decoders)


def _declared(fn: Any) -> Hashable:
    """Return all that the signature of a function follows from, None where that is not known."""
    function = inspect.unwrap(getattr(fn, "__func__", fn))
    if not inspect.isfunction(function) or hasattr(function, "__signature__"):
        return None
    declared = (
        function.__code__, tuple(function.__annotations__.items()), function.__defaults__,
        tuple((function.__kwdefaults__ or {}).items()),
    )  # fmt: skip
    try:
        hash(declared)
    except TypeError:
        return None
    return declared


class _Same:
    """Equal to what holds the same object."""

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.held is other.held

    def __hash__(self) -> int:
        return id(self.held)
