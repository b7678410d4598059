"""Writing statements, compiled once: on SQLite the driver gets their text at once, which costs a fifth of asking SQLAlchemy."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Dialect, Table, bindparam, insert, update
from sqlalchemy.exc import DBAPIError


class _Text:
    """A statement as SQLite's driver wants it: its text, and how each value is found and bound, in order."""

    def __init__(self, statement: Any, columns: tuple[str, ...] | None, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=None if columns is None else list(columns))
        self.sql = str(compiled)
        self.binds: list[tuple[str, Any, Callable[[Any], Any] | None]] = []
        for name in compiled.positiontup:
            kind = compiled.binds[name].type
            self.binds.append(
                (name, compiled.params[name], kind.dialect_impl(dialect).bind_processor(dialect))
            )

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        found = ((given.get(name, default), bind) for name, default, bind in self.binds)
        return [value if bind is None else bind(value) for value, bind in found]


_texts: dict[tuple[int, tuple[str, ...] | None], _Text] = {}


def put(
    conn: Connection, statement: Any, values: Mapping[str, Any], columns: tuple[str, ...] | None = None
) -> int:
    """Run a writing statement that lives as long as the program; how many rows it touched. Raises SQLAlchemy's errors."""
    if conn.dialect.name != "sqlite":
        return int(conn.execute(statement, values).rowcount)
    known = (id(statement), columns)
    text = _texts.get(known)
    if text is None:
        text = _texts[known] = _Text(statement, columns, conn.dialect)
    driver = conn.connection.dbapi_connection
    try:
        return int(driver.execute(text.sql, text.values(values)).rowcount)  # type: ignore[union-attr]
    except sqlite3.Error as error:
        raise DBAPIError.instance(text.sql, None, error, sqlite3.Error, hide_parameters=True) from error


@functools.cache
def inserting(table: Table) -> Any:
    """The one INSERT of a table, kept for good."""
    return insert(table)


@functools.cache
def changing(table: Table, names: tuple[str, ...]) -> Any:
    """The one UPDATE of these columns of a row, by its key (`row_key`); the values are named `new_…`."""
    (key,) = table.primary_key.columns
    return (
        update(table)
        .where(key == bindparam("row_key"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )
