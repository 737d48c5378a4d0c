"""The part of values.schema.json that is printed from the gateway's settings.

`settings` of the chart may hold whatever is no secret, and what the chart does not set itself; with
the bounds of the gateway, so that a wrong value is refused before anything is installed.
"""

import json
from typing import Any

import msgspec

from gateway.settings import SECRETS, Settings, variable
from testing.chart.rendering import CHART

FILE = CHART / "values.schema.json"
OWN = frozenset(
    {
        "role",
        "public_url",
        "admin_url",
        "admin_host",
        "admin_port",
        "gateways",
        "processes",
        "siblings",
        "journal_path",
        "workers",
        "worker_ca",
    }
)
"""Settings that the chart makes from other values."""


def renewed() -> str:
    """Return the file with the settings of this version."""
    schema = json.loads(FILE.read_text())
    schema["definitions"]["settings"]["properties"] = _properties()
    return json.dumps(schema, indent=2) + "\n"


def _properties() -> dict[str, Any]:
    (reference, parts) = msgspec.json.schema_components([Settings])
    declared = parts["Settings"]["properties"]
    assert reference
    return {
        variable(field): {key: value for key, value in kind.items() if key != "default"}
        for field, kind in sorted(declared.items())
        if field not in OWN and field not in SECRETS
    }
