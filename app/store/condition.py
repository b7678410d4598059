"""The state of the database itself: what it holds, and whether it is whole."""

from __future__ import annotations

from dataclasses import dataclass

from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, select, text

from app.domain.errors import Unavailable
from app.store import tables as t
from app.store.engine import Store, Tx


@dataclass(frozen=True, slots=True)
class Condition:
    """`revision` is the schema's, `rows` counts by table, `size` is in bytes."""

    kind: str
    version: str
    revision: str | None
    size: int
    rows: dict[str, int]


def describe(tx: Tx) -> Condition:
    """What the database is and holds."""
    if tx.postgres:
        version = str(tx.execute(text("SHOW server_version")).scalar_one())
        size = tx.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    else:
        version = str(tx.execute(text("SELECT sqlite_version()")).scalar_one())
        pages = tx.execute(text("PRAGMA page_count")).scalar_one()
        size = pages * tx.execute(text("PRAGMA page_size")).scalar_one()
    return Condition(
        kind="PostgreSQL" if tx.postgres else "SQLite",
        version=version,
        revision=MigrationContext.configure(tx.conn).get_current_revision(),
        size=int(size),
        rows={
            name: int(tx.execute(select(func.count()).select_from(table)).scalar_one())
            for name, table in sorted(t.metadata.tables.items())
        },
    )


def faults(store: Store) -> list[str]:
    """What is broken in a SQLite file, a sentence each; PostgreSQL looks after itself."""
    try:
        return [] if not store.sqlite else store.read(_faults)
    except Unavailable as error:
        return [f"the file is damaged: {error.__cause__}".split("\n", 1)[0]]


def _faults(tx: Tx) -> list[str]:
    said = [str(row[0]) for row in tx.execute(text("PRAGMA integrity_check"))]
    if said != ["ok"]:
        return [f"the file is damaged: {line}" for line in said]
    orphans = tx.execute(text("PRAGMA foreign_key_check")).all()
    return [f"{row[0]} row {row[1]} points to a row of {row[2]} that is not there" for row in orphans]
