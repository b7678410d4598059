"""The database: one writer with group commit on SQLite, transactions side by side on PostgreSQL; migrations; who serves it."""

from __future__ import annotations

import fcntl
import os
import queue
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Engine,
    Table,
    create_engine,
    event,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool, QueuePool

from app.domain.errors import GatewayError, SettingsError, Unavailable
from app.store import tables as t
from app.store.prepared import changing, inserting, put
from app.store.sealing import Keyring, load_keys

T = TypeVar("T")

GROUP = 64  # functions committed together at most: keeps one commit under some 30 ms
LOST_SOON = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""For libpq: a database host that vanished is noticed within some 10 s, not after the two hours of the kernel's own keepalives."""
BUSY_SECONDS = 15  # how long another process's short write may hold SQLite up
MIGRATIONS = Path(__file__).parent / "migrations"


_counting = threading.Lock()
_counted = (0, 0)


def new_id(prefix: str, now: datetime) -> str:
    """A time-ordered id: UUIDv7 (RFC 9562 §6.2, methods 1 and 3) of `now` behind a prefix; ids of one `now` count up."""
    global _counted
    moment = _microseconds(now)
    with _counting:
        _counted = (moment, _counted[1] + 1 if _counted[0] == moment else 0)
        count = _counted[1]
    tail = 0x2 << 62 | (count & 0xFFFFF) << 42 | secrets.randbits(42)
    return f"{prefix}_{_head(moment):016x}{tail:016x}"


def least_id(prefix: str, moment: datetime) -> str:
    """What sorts before every id of that moment or later, and behind every earlier one."""
    return f"{prefix}_{_head(_microseconds(moment)):016x}"


def _microseconds(moment: datetime) -> int:
    return (moment - t.EPOCH) // t.MICROSECOND


def _head(microseconds: int) -> int:
    milliseconds, rest = divmod(microseconds, 1000)
    return milliseconds << 16 | 0x7 << 12 | (rest << 12) // 1000


@dataclass(slots=True)
class Tx:
    """One transaction: its connection, the keys, and what it changed (told to listeners after the commit)."""

    conn: Connection
    keys: Keyring
    touched: set[str] = field(default_factory=set)
    queued: bool = False
    phone_due: bool = False
    asked: set[str] = field(default_factory=set)

    def execute(self, statement: Any, values: Any = None) -> Any:
        return self.conn.execute(statement, values)

    def put(self, statement: Any, values: Mapping[str, Any]) -> int:
        """Run a writing statement that lives as long as the program; how many rows it touched."""
        return put(self.conn, statement, values)

    def add(self, table: Table, **values: Any) -> None:
        """Insert one row."""
        put(self.conn, inserting(table), values, tuple(values))

    def seal(self, column: str, text: str) -> bytes:
        return self.keys.seal(column, text)

    def unseal(self, column: str, blob: bytes) -> str:
        return self.keys.unseal(column, blob)

    def index(self, purpose: str, value: str) -> bytes:
        return self.keys.index(purpose, value)

    @property
    def postgres(self) -> bool:
        return self.conn.dialect.name == "postgresql"


def change(tx: Tx, table: Table, row: str, **values: Any) -> bool:
    """Set columns of one row by its key; True if it is there."""
    names = {f"new_{name}": value for name, value in values.items()}
    return bool(tx.put(changing(table, tuple(values)), {"row_key": row, **names}))


Listener = Callable[[Sequence[Tx]], None]


@dataclass(slots=True)
class _Job:
    fn: Callable[[Tx], Any]
    future: Future[Any]
    tx: Tx | None = None
    result: Any = None
    error: BaseException | None = None


class Store:
    """All tables behind `write` and `read`. A function given to `write` touches nothing but its Tx, for it may run twice.

    `observer` is told "commit" after each one; the product passes none.
    """

    def __init__(
        self, url: str, keys: Keyring, *, serving: bool = True, observer: Callable[[str], None] | None = None
    ) -> None:
        self.url = url
        self.keys = keys
        self._observer = observer
        self._listeners: list[Listener] = []
        self._closed = False
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            self._write_engine = _sqlite_engine(url, serving=serving, reading=False)
            self._read_engine = _sqlite_engine(url, serving=serving, reading=True)
            self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
            self._writer = threading.Thread(target=self._write_forever, name="store-writer", daemon=True)
            self._writer.start()
        else:
            self._write_engine = self._read_engine = _postgres_engine(url)
            self._pool = ThreadPoolExecutor(8, thread_name_prefix="store-writer")

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the transactions of each commit, on the writing thread: it must be quick."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def write(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in a transaction; its value once the commit is durable. Unavailable when nothing can be written."""
        if not self.sqlite:
            return self._write_postgres(fn)
        return self.submit(fn).result()

    def submit(self, fn: Callable[[Tx], T]) -> Future[T]:
        """Like `write`, without waiting."""
        if self._closed:
            raise Unavailable("The gateway is stopping; try again in a moment.")
        if not self.sqlite:
            return self._pool.submit(self._write_postgres, fn)
        future: Future[T] = Future()
        self._jobs.put(_Job(fn, future))
        return future

    def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` on a consistent snapshot, without the right to write."""
        try:
            with self._read_engine.connect() as conn, conn.begin():
                return fn(Tx(conn, self.keys))
        except DBAPIError as error:
            raise Unavailable(
                f"The database cannot be read ({first_line(error)}). Try again; if it stays so, look at it with bpjs-sms db check."
            ) from error

    def close(self) -> None:
        """Finish what was handed in, then close."""
        if self._closed:
            return
        self._closed = True
        if self.sqlite:
            self._jobs.put(None)
            self._writer.join()
            while not self._jobs.empty():
                if (late := self._jobs.get()) is not None:
                    late.future.set_exception(Unavailable("The gateway is stopping; try again in a moment."))
        else:
            self._pool.shutdown()
        self._write_engine.dispose()
        self._read_engine.dispose()

    def _write_postgres(self, fn: Callable[[Tx], T]) -> T:
        for attempt in (1, 2, 3):
            try:
                with self._write_engine.begin() as conn:
                    tx = Tx(conn, self.keys)
                    result = fn(tx)
            except (OperationalError, InterfaceError) as error:
                # 40001 and 40P01: another transaction won; ours left nothing and may run again.
                if getattr(error.orig, "sqlstate", None) in ("40001", "40P01") and attempt < 3:
                    continue
                raise _unwritable(error) from error
            self._tell([tx])
            return result
        raise AssertionError("not reached: the last attempt returns or raises")

    def _write_forever(self) -> None:
        with self._write_engine.connect() as conn:
            ending = False
            while not ending:
                job = self._jobs.get()
                group: list[_Job] = []
                while job is not None:
                    group.append(job)
                    if len(group) >= GROUP:
                        break
                    try:
                        job = self._jobs.get_nowait()
                    except queue.Empty:
                        break
                ending = job is None
                if group:
                    self._commit_group(conn, group)

    def _commit_group(self, conn: Connection, group: list[_Job]) -> None:
        group = [job for job in group if job.future.set_running_or_notify_cancel()]
        if not self._try_together(conn, group):
            # Rare, so that the usual case needs no savepoint for each: whoever failed fails alone the second time.
            for job in group:
                self._try_alone(conn, job)
        done = [job for job in group if job.error is None]
        if done:
            try:
                self._tell([job.tx for job in done if job.tx is not None])
            except BaseException as error:
                # Whoever is told must not end the writer: those who wait for the commit get to know instead.
                for job in done:
                    job.error = error
        for job in group:
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

    def _try_together(self, conn: Connection, group: list[_Job]) -> bool:
        if len(group) < 2:
            return False
        try:
            conn.begin()
        except OperationalError as error:
            # Another process held the lock for BUSY_SECONDS: each alone would wait as long again.
            conn.rollback()
            for job in group:
                job.error = _unwritable(error)
            return True
        try:
            for job in group:
                job.tx = Tx(conn, self.keys)
                job.result = job.fn(job.tx)
            conn.commit()
        except Exception:
            conn.rollback()
            return False
        return True

    def _try_alone(self, conn: Connection, job: _Job) -> None:
        try:
            conn.begin()
            job.tx = Tx(conn, self.keys)
            job.result = job.fn(job.tx)
            conn.commit()
        except Exception as error:
            conn.rollback()
            job.error = _unwritable(error) if isinstance(error, OperationalError) else error

    def _tell(self, done: list[Tx]) -> None:
        if self._observer is not None:
            self._observer("commit")
        for listener in self._listeners:
            listener(done)


def first_line(error: DBAPIError) -> str:
    """What the driver says, without the lines of hints behind it."""
    return str(error.orig).strip().split("\n", 1)[0].rstrip(".")


def _unwritable(error: DBAPIError) -> GatewayError:
    said = first_line(error)
    away = any(word in said.lower() for word in ("connect", "server", "terminat"))
    mend = "Check that its server runs and can be reached" if away else "Free space on its disk"
    return Unavailable(
        f"The database cannot be written ({said}), so nothing was accepted. {mend}, then try again."
    )


def _sqlite_engine(url: str, *, serving: bool, reading: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool if reading else NullPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        hide_parameters=True,  # values belong in no log line
        **({"pool_size": 8, "max_overflow": 56} if reading else {}),
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin by itself
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")  # a lost mark is an SMS paid twice
        cursor.execute("PRAGMA cache_size=-32768")
        if reading:
            cursor.execute("PRAGMA query_only=ON")
        if not serving or reading:
            cursor.execute("PRAGMA wal_autocheckpoint=0")  # only the serving writer checkpoints
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgres_engine(url: str) -> Engine:
    return create_engine(
        url,
        pool_size=24,
        max_overflow=48,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={name: value for name, value in LOST_SOON.items() if name not in make_url(url).query},
    )


def database_path(url: str) -> Path | None:
    """The file of a SQLite URL, None for PostgreSQL; SettingsError for anything else."""
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except Exception as error:
        raise SettingsError(
            f"database = {url!r} is no database URL ({error}). Write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."
        ) from None
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsError(
                "database = needs a file: sqlite:///bpjs-sms.db. In memory nothing would be durable."
            )
        return Path(parsed.database)
    if parsed.drivername != "postgresql+psycopg":
        raise SettingsError(
            f"database = {parsed.drivername}://… is not supported. Write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME."
        )
    return None


class Served:
    """The lock file beside a SQLite database: its holder serves it; the kernel frees it when the holder dies."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        try:
            database.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab+", buffering=0)  # noqa: SIM115 held as long as the process serves
        except OSError as error:
            raise GatewayError(
                "unreachable",
                f"{self._path} cannot be written: {error.strerror}. The gateway writes beside its database: "
                "let this user write in that folder, or name another in database =.",
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().decode(errors="replace").strip() or "another process"
            self._file.close()
            raise GatewayError(
                "served",
                f"The database {database} is served already by {holder}. Stop that one, or give this one another database.",
            ) from None
        with suppress(OSError):  # on a full disk the lock holds all the same, without a name
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()}".encode())

    def release(self) -> None:
        with suppress(OSError):
            self._file.truncate(0)
        self._file.close()


def open_store(
    url: str,
    keys_file: Path,
    *,
    serving: bool,
    observer: Callable[[str], None] | None = None,
) -> Store:
    """Open, migrate and check a database: SettingsError for a newer version or other keys, GatewayError `unreachable`."""
    path = database_path(url)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GatewayError(
                "unreachable",
                f"The folder {path.parent} for the database cannot be made: {error.strerror}. "
                "Correct the name in database =, or let this user write there.",
            ) from None
    engine = _sqlite_engine(url, serving=serving, reading=False) if path else _postgres_engine(url)
    try:
        with engine.connect() as conn:
            known = _fingerprint(conn)
            conn.rollback()
            keys = load_keys(keys_file, may_make=known is None)
            if known in (None, keys.fingerprint):  # else it is not ours to change
                _migrate(conn)
                with conn.begin():
                    _lock_schema(conn)
                    known = _fingerprint(conn)  # another process may have sealed it meanwhile
                    if known is None:
                        known = keys.fingerprint
                        conn.execute(insert(t.meta), {"name": "keys", "value": known})
            if known != keys.fingerprint:
                raise SettingsError(
                    f"The database is sealed with other keys than {keys_file} holds. Name the right file in [sealing] keys_file."
                )
    except DBAPIError as error:
        raise GatewayError(
            "unreachable",
            f"The database {make_url(url).render_as_string(hide_password=True)} cannot be opened: {first_line(error)}. "
            + _what_to_do(first_line(error), path),
        ) from error
    finally:
        engine.dispose()
    return Store(url, keys, serving=serving, observer=observer)


def _what_to_do(said: str, path: Path | None) -> str:
    if "malformed" in said or "not a database" in said:
        return "The file is damaged, or is something else: put its last copy back, or name another in database =."
    if "already exists" in said:
        return "It holds another program's tables: name a database of the gateway's own in database =."
    if "disk is full" in said:
        return "Free space on its disk, then try again."
    if path is not None:
        return "Check the name in database =, and that this user may write in that folder."
    return "Check the address, that the server runs, and that this user may write there."


def _fingerprint(conn: Connection) -> str | None:
    if not conn.dialect.has_table(conn, "meta"):
        return None
    return conn.execute(select(t.meta.c.value).where(t.meta.c.name == "keys")).scalar()


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _lock_schema(conn: Connection) -> None:
    """One process migrates and seals, until its transaction ends; the others wait. SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(7734)"))


def _migrate(conn: Connection) -> None:
    config = alembic_config()
    script = ScriptDirectory.from_config(config)
    with conn.begin():
        _lock_schema(conn)
        current = MigrationContext.configure(conn).get_current_revision()
        if current == script.get_current_head():
            return
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise SettingsError(
                f"The database was written by a newer version (schema {current}). Install that version or newer; nothing was changed."
            )
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
