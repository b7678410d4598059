"""`keys` and `db`: work on the database itself, before the first `serve` and beside a running one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from app.domain.errors import Blame, GatewayError
from app.faces.cli.output import FAULT, Session

if TYPE_CHECKING:
    from pathlib import Path

    from app.settings import Settings
    from app.store.clients import KeyView
    from app.store.engine import Store, Tx

TRIAL = "try-it"
"""The key's name that `serve --with-key` makes."""

keys = typer.Typer(help="The keys with which programs may call the gateway.")
db = typer.Typer(help="The database.")


@keys.command("create")
def keys_create(
    ctx: typer.Context,
    name: str = typer.Argument(help="Who will use it, for example payroll."),
    scope: list[str] = typer.Option(
        ...,
        "--scope",
        help="What it may do, for example checks:write; may stand many times. * is everything.",
    ),
    client: str | None = typer.Option(None, help="Whose checks it sees; its name unless said."),
) -> None:
    """Make a key and print it, once."""
    from app.store.clients import create_key, write_audit

    session: Session = ctx.obj
    now = datetime.now(UTC)
    settings = session.settings()
    new = _missing(settings)
    with opened(settings) as store:

        def create(tx: Tx) -> tuple[KeyView, str]:
            made = create_key(tx, name=name, scopes=scope, client=client, now=now)
            write_audit(tx, "command line", "key created", made[0].id, now)
            return made

        view, secret = store.write(create)
    if session.json:
        session.show_json(
            {"id": view.id, "key": secret, "client": view.client, "name": view.name, "scopes": view.scopes}
        )
        return
    session.say(f"{secret}")
    session.note(
        f"Key {view.id} of {view.client}, for {', '.join(view.scopes)}. It is shown this once: keep it now."
    )
    if new is not None:  # a key made in the wrong folder is good at no gateway
        session.note(
            f"The database {new} was made with it: only a gateway on that database knows the key. "
            "If yours uses another, name its settings with --config."
        )


@keys.command("list")
def keys_list(ctx: typer.Context) -> None:
    """Every key, without its secret."""
    from app.store.clients import list_keys

    session: Session = ctx.obj
    settings = session.settings()
    found: list[KeyView] = []
    if _missing(settings) is None:
        with opened(settings) as store:
            found = store.read(list_keys)
    if session.json:
        session.show_json({"items": [_key(view) for view in found]})
        return
    if not found:
        session.say(
            "There is no key yet. `bpjs-sms keys create NAME --scope checks:write --scope checks:read` makes one."
        )
        return
    session.table(
        ("id", "begins", "name", "client", "scopes", "made", "last used", "ended"),
        (
            (
                view.id,
                view.prefix,
                view.name,
                view.client,
                " ".join(view.scopes),
                _when(view.created_at),
                _when(view.last_used_at),
                _when(view.revoked_at),
            )
            for view in found
        ),
    )


@keys.command("revoke")
def keys_revoke(
    ctx: typer.Context, key: str = typer.Argument(help="The key's id, or the beginning of its secret.")
) -> None:
    """End a key: it is refused from now on."""
    from app.store.clients import revoke_key, write_audit

    session: Session = ctx.obj
    now = datetime.now(UTC)
    _must_exist(session)
    with opened(session.settings()) as store:

        def revoke(tx: Tx) -> KeyView:
            ended = revoke_key(tx, key, now)
            write_audit(tx, "command line", "key revoked", ended.id, now)
            return ended

        view = store.write(revoke)
    if session.json:
        session.show_json(_key(view))
    session.say(f"Key {view.id} of {view.client} is ended. A running gateway refuses it within seconds.")


@db.command("migrate")
def db_migrate(ctx: typer.Context) -> None:
    """Make the database, or bring it to this version; `serve` does it by itself."""
    session: Session = ctx.obj
    _show_condition(session)


@db.command("info")
def db_info(ctx: typer.Context) -> None:
    """What the database is and how much it holds."""
    session: Session = ctx.obj
    _must_exist(session)
    _show_condition(session)


@db.command("check")
def db_check(ctx: typer.Context) -> None:
    """Whether the database is whole, of this version, and sealed with our keys."""
    from app.store.condition import faults

    session: Session = ctx.obj
    _must_exist(session)
    with opened(session.settings()) as store:
        found = faults(store)
    if session.json:
        session.show_json({"ok": not found, "faults": found})
    else:
        for fault in found:
            session.say(fault)
        session.say(
            "The database is not whole: restore its last copy." if found else "The database is whole."
        )
    raise typer.Exit(FAULT if found else 0)


def make_trial_key(store: Store) -> str:
    """The secret of a new key that may do everything, named `try-it`; earlier ones of that name end."""
    from app.store.clients import create_key, list_keys, revoke_key

    now = datetime.now(UTC)

    def replace(tx: Tx) -> str:
        for view in list_keys(tx):
            if view.name == TRIAL and view.revoked_at is None:
                revoke_key(tx, view.id, now)
        return create_key(tx, name=TRIAL, scopes=["*"], now=now)[1]

    return store.write(replace)


@contextmanager
def opened(settings: Settings) -> Iterator[Store]:
    """The store beside whoever serves it. SettingsError and GatewayError as `open_store` raises them."""
    from app.store.engine import open_store

    store = open_store(settings.database, settings.sealing.keys_file, serving=False)
    try:
        yield store
    finally:
        store.close()


def _missing(settings: Settings) -> Path | None:
    """The database's file, where it should be and is not."""
    from app.store.engine import database_path

    path = database_path(settings.database)
    if path is None or path.exists() or (path.parent.exists() and not path.parent.is_dir()):
        return None  # opening it says what is wrong
    return path


def _must_exist(session: Session) -> None:
    path = _missing(session.settings())
    if path is not None:
        raise GatewayError(
            "unreachable",
            f"There is no database {path}. `bpjs-sms db migrate` or `bpjs-sms serve` makes it; or correct database = in the settings.",
            blame=Blame.CALLER,
        )


def _show_condition(session: Session) -> None:
    from app.faces.cli.output import legible
    from app.settings import masked
    from app.store.condition import describe

    with opened(session.settings()) as store:
        found = store.read(describe)
    url = masked(session.settings())["database"]
    if session.json:
        session.show_json(
            {
                "database": url,
                "kind": found.kind,
                "version": found.version,
                "schema": found.revision,
                "bytes": found.size,
                "rows": found.rows,
            }
        )
        return
    session.pairs(
        {
            "database": legible(url),
            "kind": f"{found.kind} {found.version}",
            "schema": found.revision,
            "size": f"{found.size / 1_048_576:.1f} MiB",
            **{name.replace("_", " "): count for name, count in found.rows.items() if count},
        }
    )


def _key(view: KeyView) -> dict[str, Any]:
    return {
        "id": view.id,
        "client": view.client,
        "name": view.name,
        "prefix": view.prefix,
        "scopes": view.scopes,
        "created_at": _when(view.created_at),
        "last_used_at": _when(view.last_used_at),
        "revoked_at": _when(view.revoked_at),
    }


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
