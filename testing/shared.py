"""What all applications of a run compute alike, computed once.

Templates, handlers' signatures, the OpenAPI document, SQL statements, and the certificates that
clients trust. A run makes hundreds of applications, each with a database. Reading what each handler
asks for took half of the time to make one; compiling statements anew took a third of the time of a
test that buys. Who wants it calls `share()` once, before the first application.
"""

import inspect
import ssl
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import jinja2
from jinja2.bccache import Bucket, BytecodeCache
from litestar._signature.model import SignatureModel
from litestar.utils.signature import ParsedSignature
from sqlalchemy import Dialect, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.control_plane.mail import messages
from gateway.control_plane.web import rendering
from gateway.data_plane.api import openapi
from gateway.storage import database
from gateway.wings import Operation
from testing import lazy_routes


def share() -> None:
    """Let all applications of this process share what they compute alike."""
    compiled = partial(jinja2.Environment, bytecode_cache=CompiledTemplates())
    rendering.Environment = messages.Environment = compiled  # type: ignore[attr-defined,assignment]
    _share_templates(rendering.Renderer)
    _share_templates(messages.MailWriter)
    lazy_routes.use()
    ParsedSignature.from_fn = _once(ParsedSignature.from_fn, _key_of_signature)  # type: ignore[method-assign]
    SignatureModel.create = _once(SignatureModel.create, _key_of_model)  # type: ignore[method-assign]
    openapi.route = _once(openapi.route, _key_of_document)
    database.create_async_engine = _Engines().create  # type: ignore[attr-defined]
    ssl.create_default_context = partial(
        _context, cache(ssl.create_default_context), ssl.create_default_context
    )


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


def _share_templates(kind: type[rendering.Renderer] | type[messages.MailWriter]) -> None:
    """Let all renderers of a kind that have the same constants have the same templates."""
    make, made = kind.__init__, dict[Hashable, dict[str, Any]]()

    def __init__(self: Any, *parts: Any) -> None:  # noqa: N807
        constants = frozenset(
            item for part in parts if isinstance(part, Mapping) for item in part.items()
        )
        if constants in made:
            self.__dict__ |= made[constants]
        else:
            make(self, *parts)
            made[constants] = vars(self).copy()

    kind.__init__ = __init__  # type: ignore[assignment,method-assign]


class _Engines:
    """Engines that share a dialect and its compiled statements, one for each driver.

    The first engine asks its server what it can do; the others believe it.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Dialect, Any]] = {}

    def create(self, url: Any, **options: Any) -> AsyncEngine:
        """Create an engine as SQLAlchemy does."""
        driver = make_url(url).drivername
        if known := self._known.get(driver):
            made = create_async_engine(url, _initialize=False, **options)
            made.sync_engine.dialect, made.sync_engine._compiled_cache = known
            return made
        made = create_async_engine(url, query_cache_size=5_000, **options)
        engine = made.sync_engine

        def keep(*_: Any) -> None:
            self._known.setdefault(driver, (engine.dialect, engine._compiled_cache))

        event.listen(engine, "engine_connect", keep, once=True)
        return made


def _context(
    shared: Callable[..., ssl.SSLContext],
    new: Callable[..., ssl.SSLContext],
    purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH,
    **options: Any,
) -> ssl.SSLContext:
    """Give a client's context, which nobody changes, again; a server's gets a key of its own.

    What is in a file may change.
    """
    is_shared = purpose is ssl.Purpose.SERVER_AUTH and not options.get("cafile")
    return (shared if is_shared else new)(purpose, **options)


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


def _key_of_document(public_url: str, version: str, operations: Sequence[Operation]) -> Hashable:
    return public_url, version, tuple(map(_Same, operations))


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
