"""The composition root: every part is made here and given what it needs.

Nothing connects before the application starts; if the database can't be used, the start ends with
one clear line. What isn't used isn't imported: a command gets only the modules that it asks for,
and a process only those of the planes that it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.app.process import Process


def build(settings: Settings | None = None) -> Process:
    """Make a process: its parts, and the application over them.

    Raises SettingsError or DatabaseError for what can't be used.
    """
    from gateway.data_plane.metering import tokens  # noqa: PLC0415
    from gateway.observability import logging  # noqa: PLC0415

    settings = settings or Settings.from_environment()
    logging.configure(settings.log_format, settings.log_level)
    # first: reading a vocabulary takes 9 MB for a moment, which what is imported next uses again
    tokens.load()
    from gateway.app.planes import make_process  # noqa: PLC0415

    return make_process(settings)
