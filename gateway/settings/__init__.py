"""Every setting with its default, its bounds and a sentence: the only place they are declared.

Each module holds the settings of one noun. Values come from the environment: `DATABASE_URL` and
`REDIS_URL` have the names that platforms give them; all others start with `GATEWAY_`.
docs/settings.md is printed from here (`gateway settings --markdown`).
"""

from gateway.keyring import derive
from gateway.settings.declaring import SettingsError, variable
from gateway.settings.process import Role
from gateway.settings.settings import SECRETS, Settings, describe

__all__ = ["SECRETS", "Role", "Settings", "SettingsError", "derive", "describe", "variable"]
