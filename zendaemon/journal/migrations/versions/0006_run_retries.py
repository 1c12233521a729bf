"""The runs of a fire that failed, and when the next one is due."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_RETRIED = sa.text("retry_at is not null")


def upgrade() -> None:
    op.add_column("fires", sa.Column("earlier_runs", sa.Text))
    op.add_column("fires", sa.Column("retry_at", sa.DateTime(timezone=True)))
    op.create_index("fires_retried", "fires", ["id"], sqlite_where=_RETRIED, postgresql_where=_RETRIED)


def downgrade() -> None:
    op.drop_index("fires_retried", "fires")
    for name in ("retry_at", "earlier_runs"):
        op.drop_column("fires", name)
