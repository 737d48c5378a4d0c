"""A flood stays its sender's: links by domain, strangers' mails last, shares of free credit.

What the columns mean: gateway/storage/tables/accounts.py, mail.py and billing.py.
"""

from alembic import op
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, text

from migrations.types import NAMES, Flag, nanos

revision = "0022_floods"
down_revision = "0021_sums"
branch_labels = None
depends_on = None

_shares = Table(
    "promotion_shares",
    MetaData(naming_convention=NAMES),
    Column("day", Text, primary_key=True),
    Column("share", LargeBinary, primary_key=True),
    *nanos("granted_nanos"),
    sqlite_strict=True,
)


def upgrade() -> None:
    op.add_column("mail_links", Column("domain", Text, nullable=False, server_default=""))
    op.create_index("ix_mail_links_domain_created_at", "mail_links", ["domain", "created_at"])
    op.add_column(
        "outbox", Column("for_stranger", Flag, nullable=False, server_default=text("false"))
    )
    _shares.create(op.get_bind())


def downgrade() -> None:
    _shares.drop(op.get_bind())
    op.drop_column("outbox", "for_stranger")
    op.drop_index("ix_mail_links_domain_created_at", "mail_links")
    op.drop_column("mail_links", "domain")
