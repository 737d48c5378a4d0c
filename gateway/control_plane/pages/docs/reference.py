"""The API reference: the OpenAPI document as rows for a page.

There is one document: what /openapi.json serves is what is rendered here, and a test compares them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from markupsafe import Markup, escape

from gateway.control_plane.billing.api import OPERATIONS
from gateway.control_plane.receipts.api import RECEIPT_OPERATIONS
from gateway.data_plane.api import openapi
from gateway.wings import Operation

_METHODS = ("get", "post")
_CODE = re.compile(r"`([^`]+)`")
_DEPTH_MAX = 4


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A field, a parameter or a header."""

    name: str
    """With its path, such as `data[].index`."""
    type: str
    required: bool
    default: str
    description: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    summary: str
    needs_key: bool
    parameters: Sequence[Row]
    body: Sequence[Row]
    same_body_as: str
    """The operation that has the same body and shows it; empty for the first."""
    answer: Sequence[Row]
    headers: Sequence[Row]
    errors: Sequence[tuple[str, str]]
    request_example: str
    answer_example: str


def document(public_url: str, others: Sequence[Operation] = ()) -> Mapping[str, Any]:
    """Return the OpenAPI document of this gateway; `others` are what other wings serve."""
    operations = (*OPERATIONS, *RECEIPT_OPERATIONS, *others)
    return openapi.document(public_url, version("stella-gateway"), operations)


def entries(public_url: str, others: Sequence[Operation] = ()) -> Sequence[Section]:
    """Return the operations of the document, in its order."""
    described = document(public_url, others)
    schemas = described["components"]["schemas"]
    found: list[Section] = []
    bodies: dict[str, str] = {}
    for path, operations in described["paths"].items():
        for method in _METHODS:
            if operation := operations.get(method):
                entry = _entry(path, method, operation, schemas, bodies)
                bodies.setdefault(_body_schema(operation), entry.id)
                found.append(entry)
    return found


def error(public_url: str) -> tuple[Sequence[Row], str]:
    """Return the fields of every error, and an example."""
    schemas = document(public_url)["components"]["schemas"]
    return _rows(schemas["ErrorEnvelope"], schemas), _written(json.loads(openapi.ERROR.envelope()))


def rich(text: str) -> Markup:
    """Render `code` in backticks as code, and everything else as text."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704


def _entry(
    path: str,
    method: str,
    operation: Mapping[str, Any],
    schemas: Mapping[str, Any],
    bodies: Mapping[str, str],
) -> Section:
    good = operation["responses"]["200"]
    content = good["content"]["application/json"]
    asked = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    same_as = bodies.get(_body_schema(operation), "") if asked else ""
    return Section(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        needs_key={} not in operation["security"],
        parameters=[_parameter(each) for each in operation["parameters"]],
        body=[] if same_as or not asked else _rows(asked["schema"], schemas),
        same_body_as=same_as,
        answer=_rows(content["schema"], schemas),
        headers=[
            Row(name=n, type="", required=False, default="", description=h["description"])
            for n, h in good["headers"].items()
        ],
        errors=[
            (status, answer["description"])
            for status, answer in operation["responses"].items()
            if status != "200"
        ],
        request_example=_written(asked.get("example")),
        answer_example=_written(content.get("example")),
    )


def _body_schema(operation: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return str(content.get("application/json", {}).get("schema", ""))


def _parameter(parameter: Mapping[str, Any]) -> Row:
    schema = parameter["schema"]
    return Row(
        name=parameter["name"],
        type=f"{_type(schema, {})}{_bounds(schema)}, in the {parameter['in']}",
        required=parameter.get("required", False),
        default=_written(schema.get("default")),
        description=parameter.get("description", ""),
    )


def _rows(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], prefix: str = "", depth: int = 0
) -> list[Row]:
    """List the fields of an object, and below each the fields of what it holds."""
    schema = _resolved(schema, schemas)
    rows: list[Row] = []
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        rows.append(
            Row(
                name=path,
                type=_type(field, schemas),
                required=name in schema.get("required", []),
                default=_written(field.get("default")),
                description=field.get("description", ""),
            )
        )
        inner = _held(field, schemas)
        if depth < _DEPTH_MAX and inner.get("type") == "array":
            rows += _rows(inner["items"], schemas, f"{path}[].", depth + 1)
        elif depth < _DEPTH_MAX:
            rows += _rows(inner, schemas, f"{path}.", depth + 1)
    return rows


def _held(field: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a field holds, if it isn't null."""
    choices = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    return _resolved(choices[0] if len(choices) == 1 else field, schemas)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schemas[reference.rpartition("/")[2]] if reference else schema


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Put a type into words: `list of integers`, `"end" or "start"`."""
    schema = _resolved(schema, schemas)
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return _or([_type(choice, schemas) for choice in choices])
    if "enum" in schema:
        return _or([json.dumps(value) for value in schema["enum"]])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_plural(_type(schema['items'], schemas))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_plural(_type(schema['additionalProperties'], schemas))}"
    if kind == "string" and schema.get("format"):
        return str(schema["format"])
    return str(kind)


def _plural(name: str) -> str:
    return name.replace("list of", "lists of") if name.startswith("list of") else f"{name}s"


def _or(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return " or ".join([", ".join(distinct[:-1]), distinct[-1]] if distinct[1:] else distinct)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    return f" from {low} to {high}" if low is not None and high is not None else ""


def _written(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, indent=2, ensure_ascii=False) if value != {} else "{}"
