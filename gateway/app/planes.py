"""Wires the planes that a process runs into one application."""

from __future__ import annotations

from gateway.app import core, hot_path
from gateway.app.core import make_core
from gateway.app.hot_path import make_data_plane
from gateway.app.process import Process, runs
from gateway.settings import Settings


def make_process(settings: Settings) -> Process:
    """Make the parts, and the application over them. Raises SettingsError or DatabaseError."""
    parts = make_core(settings)
    data = make_data_plane(parts)
    wings = [core.wing(parts), *hot_path.wings(parts, data)]
    if not runs(settings.role, "control"):
        return Process(parts, data, None, wings)
    from gateway.app.control_plane import make_control_plane  # noqa: PLC0415 - only where it runs

    operations = [operation for wing in wings for operation in wing.operations]
    control = make_control_plane(parts, key_changed=data.key_changed, operations=operations)
    return Process(parts, data, control, [*wings, *control.wings])
