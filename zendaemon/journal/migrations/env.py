"""Alembic's entry: the connection comes from the journal that is being opened."""

from __future__ import annotations

from alembic import context

from zendaemon.journal.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
