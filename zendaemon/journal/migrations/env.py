"""Alembic's entry: the connection comes from the journal that is being opened."""

from __future__ import annotations

from alembic import context

from zendaemon.journal.tables import metadata

# SQLite's tables are part of a transaction too, so that a crash leaves no half of a migration.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
