"""An index for what needs somebody's attention, so that it is found without reading all that went well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    trouble = sa.text("(state in ('failed', 'missed') or run_status = 'failed')")
    columns = [sa.text("coalesce(through, fire_time)"), sa.text("id")]
    op.create_index("fires_trouble", "fires", columns, sqlite_where=trouble, postgresql_where=trouble)


def downgrade() -> None:
    op.drop_index("fires_trouble", "fires")
