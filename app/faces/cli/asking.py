"""`check` and `batch`: ask a running gateway and wait for what the services say."""

from __future__ import annotations

import math
import os
import secrets
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.domain.durations import parse_duration
from app.domain.errors import GatewayError, Invalid
from app.domain.states import FINAL, Outcome, State
from app.faces.cli.output import DONE, INTERRUPTED, NO_ANSWER, OTHER_OUTCOME, Refused, Session, rupiah

if TYPE_CHECKING:
    from app.faces.cli.gateway import Gateway

PREFER_MOST = 60
"""Seconds that `Prefer: wait` may ask for (design, section 6)."""
BETWEEN_LOOKS = 1.0
FIRST_LOOK = 0.1
"""Seconds between two looks; a batch is looked at sooner at first, for a small one is soon done."""
ATTEMPTS = 3
"""How often a call is made that broke off; its Idempotency-Key makes sure that it is done once."""
CONTENT_TYPES = {
    ".csv": "text/csv",
    ".txt": "text/csv",
    ".tsv": "text/csv",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".json": "application/json",
    ".ndjson": "application/x-ndjson",
}
MONEY = frozenset({"balance", "bill", "arrears"})


def check(
    ctx: typer.Context,
    service: str = typer.Argument(
        metavar="SERVICE", help="The service to ask; `bpjs-sms services` lists them."
    ),
    fields: list[str] = typer.Argument(
        None, metavar="FIELD=VALUE…", help="What it needs, for example kpj=99012345678."
    ),
    reference: str | None = typer.Option(None, help="A word of your own that comes back with the answer."),
    priority: int | None = typer.Option(None, help="0 goes first, 9 last."),
    max_age: str | None = typer.Option(
        None, metavar="DURATION", help="Take an answer that is at most this old, for example 1h."
    ),
    wait: str = typer.Option("10m", metavar="DURATION", help="How long to wait for the answer."),
    no_wait: bool = typer.Option(False, "--no-wait", help="Only hand it in."),
) -> None:
    """Ask one service about one card, wait, and print the record."""
    from app.faces.cli.gateway import Gateway

    session: Session = ctx.obj
    body: dict[str, Any] = {"service": service, "fields": parse_fields(fields or [])}
    body |= {"reference": reference} if reference is not None else {}
    body |= {"priority": priority} if priority is not None else {}
    body |= {"max_age": max_age} if max_age is not None else {}
    patience = timedelta() if no_wait else _duration("--wait", wait)
    with Gateway(session.settings().client) as gateway:
        found = _ask(session, gateway, body, patience)
    if session.json:
        session.show_json(found)
    else:
        show_check(session, found)
    raise typer.Exit(DONE if no_wait and found["state"] not in FINAL else status_of_check(found))


def parse_fields(written: list[str]) -> dict[str, str]:
    """`field=value` texts as fields. Invalid for what is not of that form."""
    fields: dict[str, str] = {}
    for text in written:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise Invalid(f'"{text}" is no field: write FIELD=VALUE, for example kpj=99012345678.')
        if name in fields:
            raise Invalid(f'The field "{name}" is given twice: give it once.')
        fields[name] = value
    if not fields:
        raise Invalid("There is nothing to ask about: write FIELD=VALUE, for example kpj=99012345678.")
    return fields


def status_of_check(found: Mapping[str, Any]) -> int:
    """The exit status that says how a check came out."""
    if found["state"] != State.ANSWERED:
        return NO_ANSWER
    return DONE if found["outcome"] == Outcome.FOUND else OTHER_OUTCOME


def show_check(session: Session, found: Mapping[str, Any]) -> None:
    """A check as a person wants to see it."""
    asked = ", ".join(f"{name} {value}" for name, value in found["fields"].items())
    outcome = found["outcome"] or ("still waiting" if found["state"] not in FINAL else "no answer")
    evidence = found["evidence"] or {}
    error = found["error"] or {}
    pairs: dict[str, object] = {"check": found["id"], "state": found["state"], "outcome": outcome}
    pairs |= {name: shown(name, value) for name, value in (found["record"] or {}).items() if name != "cards"}
    for card in (found["record"] or {}).get("cards", []):
        pairs[f"card {card.get('kpj', '')}"] = ", ".join(
            f"{name} {shown(name, value)}" for name, value in card.items() if name != "kpj"
        )
    pairs |= {
        "evidence": evidence.get("kind"),
        "late": "yes" if found["late"] else None,
        "error": error.get("detail"),
        "lane": found["lane"],
        "attempts": found["attempts"],
        "cost": rupiah(found["cost"]) if found["cost"] is not None else None,
        "asked": found["created_at"],
        "sent": found["submitted_at"],
        "answered": found["answered_at"],
    }
    session.pairs(pairs, f"{found['service']}: {asked}")
    for reply in found["replies"] or []:
        session.say(f"{reply['role']}: {reply['text']}")


def shown(name: str, value: object) -> str:
    """A record's value for people."""
    return rupiah(value) if name in MONEY and isinstance(value, int) else str(value)


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Invalid(f"{option}: {error}.") from None


def _ask(session: Session, gateway: Gateway, body: dict[str, Any], patience: timedelta) -> dict[str, Any]:
    ending = time.monotonic() + patience.total_seconds()
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    where = f"{gateway.url}/v1/checks"
    try:
        # Not waited for here: whoever interrupts the waiting is told the check's address.
        found = _insist(lambda: gateway.call("POST", "/v1/checks", json=body, headers=headers))
        where += f"/{found['id']}"
        if patience and found["state"] not in FINAL:
            _tell_if_none_sends(session, gateway)
        while found["state"] not in FINAL and (left := ending - time.monotonic()) > 0:
            found = _look(session, gateway, f"/v1/checks/{found['id']}", min(PREFER_MOST, left)) or found
    except KeyboardInterrupt:
        session.note(f"Interrupted. The check goes on at the gateway: {where}")
        raise typer.Exit(INTERRUPTED) from None
    if patience and found["state"] not in FINAL:
        session.note(f"Still waiting: it goes on at the gateway, {where}")
    return found


def _tell_if_none_sends(session: Session, gateway: Gateway) -> None:
    """Say why nothing will go out now, where that is so."""
    try:
        gateway.call("GET", "/health/ready")
    except Refused as error:
        session.note(error.detail)
    except GatewayError:  # what is really wrong with it, the next look tells
        return


def _insist(call: Any) -> dict[str, Any]:
    """Make a call again that broke off half way. A gateway that is not there, or says no, is told at once."""
    for _attempt in range(ATTEMPTS - 1):
        try:
            answer: dict[str, Any] = call()
            return answer
        except GatewayError as error:
            if error.code != "unreachable" or "broke off" not in error.detail:
                raise
    last: dict[str, Any] = call()
    return last


def _look(session: Session, gateway: Gateway, path: str, wait: float = 0) -> dict[str, Any] | None:
    """What became of it, when it is final or after `wait` seconds; None while the gateway is away, for what it took it keeps."""
    try:
        return gateway.call(
            "GET", path, headers={"Prefer": f"wait={math.ceil(wait)}"} if wait else None, wait=wait
        )
    except Refused as error:
        if error.status not in (429, 503):
            raise
        session.note(error.detail)
    except GatewayError as error:
        if error.code != "unreachable":
            raise
        session.note(f"{error.detail} Waiting for it to come back.")
    threading.Event().wait(BETWEEN_LOOKS)
    return None


def batch(
    ctx: typer.Context,
    file: Path = typer.Argument(help="A CSV with one card a row."),
    service: str | None = typer.Option(None, help="The service to ask; needed unless there is only one."),
    column: str | None = typer.Option(None, help="The column with the card numbers, by name or number."),
    out: str | None = typer.Option(
        None,
        metavar="FILE",
        help="Where the answers go; - is stdout. Else beside the file, as NAME.answers.csv.",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only say what it would ask and cost."),
    no_wait: bool = typer.Option(False, "--no-wait", help="Only hand it in."),
) -> None:
    """Ask about every card of a file; get the same file back with the answers."""
    from app.faces.cli.gateway import Gateway

    session: Session = ctx.obj
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Invalid(f"{file} cannot be read ({error.strerror}). Name a CSV file.") from None
    if session.json and out == "-":
        raise Invalid("--out - and --json both want stdout: leave one out.")
    target = None if dry_run or no_wait else _target(file, out)
    with Gateway(session.settings().client) as gateway:
        params: dict[str, str | int] = {"service": service or _only_service(gateway)}
        params |= {"column": column} if column is not None else {}
        params |= {"dry_run": "true"} if dry_run else {}
        headers = {
            "Content-Type": CONTENT_TYPES.get(file.suffix.lower(), "text/csv"),
            "Idempotency-Key": secrets.token_hex(16),
        }
        found = _insist(
            lambda: gateway.call(
                "POST", "/v1/batches", params=params, content=data, headers=headers, wait=120
            )
        )
        if not (dry_run or no_wait):
            found = _follow(session, gateway, found)
            _fetch(gateway, f"/v1/batches/{found['id']}/results", target)
    if session.json:
        session.show_json(found if dry_run or no_wait else {**found, "results": str(target)})
    elif target is not None or dry_run or no_wait:
        show_batch(session, found, target)


def show_batch(session: Session, found: Mapping[str, Any], target: Path | None) -> None:
    """A batch, or a dry run, as a person wants to see it."""
    pairs: dict[str, object] = {
        "batch": found.get("id"),
        "state": found.get("state"),
        "rows": found["rows"],
        "rejected": found["rejected"],
    }
    pairs |= {name: found.get(name) for name in ("questions", "duplicates")}
    pairs |= {name.replace("_", " "): count for name, count in (found.get("counts") or {}).items() if count}
    pairs["cost"] = rupiah(found["cost"]) if found.get("cost") is not None else None
    pairs["time left"] = None if not found.get("eta") else str(timedelta(seconds=round(found["eta"])))
    pairs["answers"] = target
    session.pairs(pairs, f"{found['service']}")
    errors = found.get("errors") or []
    if errors:
        session.table(("row", "wrong"), ((fault.get("row"), fault.get("detail")) for fault in errors[:20]))
        if found["rejected"] > 20:
            session.say(f"… and {found['rejected'] - 20} more; the answers' column error names them all.")


def _target(file: Path, out: str | None) -> Path | None:
    """Where the answers go, None for stdout. Invalid if that would lose a file."""
    if out == "-":
        return None
    target = Path(out) if out is not None else file.with_name(f"{file.stem}.answers.csv")
    if target.resolve() == file.resolve():
        raise Invalid(f"The answers would overwrite {file}: name another file with --out.")
    if out is None and target.exists():
        raise Invalid(f"{target} is there already: move it, or name a file to write with --out.")
    if not target.parent.is_dir():
        raise Invalid(
            f"There is no folder {target.parent} for the answers: make it, or name another with --out."
        )
    return target


def _only_service(gateway: Gateway) -> str:
    names = [str(item["name"]) for item in gateway.call("GET", "/v1/services")["items"] if item["enabled"]]
    if len(names) != 1:
        raise Invalid(f"Say which service to ask: --service {' or --service '.join(names) or 'NAME'}.")
    return names[0]


def _follow(session: Session, gateway: Gateway, found: dict[str, Any]) -> dict[str, Any]:
    """Wait until every row has come out, with a progress bar on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    path = f"/v1/batches/{found['id']}"
    try:
        with Progress(
            *columns, console=session.err, disable=session.json or not session.err.is_terminal
        ) as progress:
            bar = progress.add_task("answers", total=found["rows"])
            pause = FIRST_LOOK
            while found["state"] not in ("done", "cancelled"):
                threading.Event().wait(pause)
                pause = min(pause * 1.5, BETWEEN_LOOKS)
                found = _look(session, gateway, path) or found
                progress.update(
                    bar, total=found["rows"] - found["rejected"], completed=_over(found["counts"])
                )
    except KeyboardInterrupt:
        session.note(
            f"Interrupted. The batch goes on at the gateway: {gateway.url}{path}, the answers at {path}/results"
        )
        raise typer.Exit(INTERRUPTED) from None
    return found


def _over(counts: Mapping[str, int]) -> int:
    return sum(count for state, count in counts.items() if state in FINAL)


def _fetch(gateway: Gateway, path: str, target: Path | None) -> None:
    """The answers into a file, which is there whole or not at all; None for stdout."""
    with gateway.download(path, {"format": "csv"}) as chunks:
        if target is None:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with open(partial, "xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except OSError as error:
            raise Invalid(
                f"{target} cannot be written ({error.strerror}). The answers stay at the gateway: {gateway.url}{path}"
            ) from None
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
