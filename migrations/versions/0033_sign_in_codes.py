"""A sign-in link has a code beside it, which the form that asked for both accepts a few times.

What the columns mean: gateway/storage/tables/accounts.py. Links from before have no code.
"""

from alembic import op

revision = "0033_sign_in_codes"
down_revision = "0032_request_log"
branch_labels = None
depends_on = None
runs_from = "0029_schema_range"

_COLUMNS = {"form": "text NOT NULL DEFAULT ''", "tries": "integer NOT NULL DEFAULT 0"}


def upgrade() -> None:
    for name, kind in _COLUMNS.items():
        op.execute(f"ALTER TABLE mail_links ADD COLUMN {name} {kind}")


def downgrade() -> None:
    for name in _COLUMNS:
        op.execute(f"ALTER TABLE mail_links DROP COLUMN {name}")
