"""`lanes`, `messages` and `phone`: look at a running gateway, ask something of its modems, and say who may text it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import typer

from app.faces.cli.output import Session

phone = typer.Typer(help="Who may text the gateway's SIMs.")


lanes = typer.Typer(help="The modems and SIMs of a running gateway; alone: a list of them.")

ANSWER_WAITS = 30
"""Seconds that the gateway waits for a lane's answer."""


@lanes.callback(invoke_without_command=True)
def lanes_list(ctx: typer.Context) -> None:
    """The modems and SIMs of a running gateway."""
    if ctx.invoked_subcommand is not None:
        return
    from app.faces.cli.gateway import Gateway

    session: Session = ctx.obj
    with Gateway(session.settings().client) as gateway:
        found = gateway.call("GET", "/v1/lanes")["items"]
    if session.json:
        session.show_json({"items": found})
        return
    if not found:
        session.say(
            "The gateway has no lanes. Write [[lanes]] into its settings, or start it with --simulated 2."
        )
        return
    session.table(
        ("lane", "state", "port", "operator", "signal", "network", "last sent", "last heard", "why"),
        (
            (
                lane["name"],
                lane["state"],
                lane["port"],
                (lane["sim"] or {}).get("operator"),
                lane["signal"],
                lane["registration"],
                lane["last_sent_at"],
                lane["last_heard_at"],
                lane["reason"] or (f"bpjs-sms lanes resume {lane['name']}" if lane["paused"] else None),
            )
            for lane in found
        ),
    )


@lanes.command("ussd")
def lanes_ussd(
    ctx: typer.Context,
    name: str = typer.Argument(help="The lane."),
    code: str = typer.Argument(help="What to dial, such as *888#; or the choice, where a menu is open."),
) -> None:
    """Dial a USSD code (credit, packages) and print what the network says."""
    session: Session = ctx.obj
    answer = _ask(session, name, {"kind": "ussd", "code": code})
    session.say(str(answer["text"]))
    for said in answer.get("pushed", []):
        session.note(f"The network also said by itself: {said}")
    if answer["more"] and not session.json:
        session.note(f"The network waits for a choice: bpjs-sms lanes ussd {name} CHOICE")


@lanes.command("restart")
def lanes_restart(
    ctx: typer.Context,
    name: str = typer.Argument(help="The lane."),
    modem: bool = typer.Option(False, "--modem", help="Let the modem itself start anew, too (AT+CFUN=1,1)."),
) -> None:
    """Close a lane's port and open it again."""
    session: Session = ctx.obj
    _ask(session, name, {"kind": "restart", **({"modem": True} if modem else {})})
    session.say(f"{name} is being opened again.")


@lanes.command("pause")
def lanes_pause(ctx: typer.Context, name: str = typer.Argument(help="The lane.")) -> None:
    """Let a lane receive, but send nothing, until it is resumed."""
    session: Session = ctx.obj
    _ask(session, name, {"kind": "pause"})
    session.say(f"{name} sends nothing until `bpjs-sms lanes resume {name}`.")


@lanes.command("resume")
def lanes_resume(ctx: typer.Context, name: str = typer.Argument(help="The lane.")) -> None:
    """Let a lane send again."""
    session: Session = ctx.obj
    _ask(session, name, {"kind": "pause", "paused": False})
    session.say(f"{name} sends again.")


def _ask(session: Session, name: str, wanted: dict[str, Any]) -> dict[str, Any]:
    from app.faces.cli.gateway import Gateway

    with Gateway(session.settings().client) as gateway:
        path = f"/v1/lanes/{quote(name, safe='')}/requests"
        said = gateway.call("POST", path, json=wanted, wait=ANSWER_WAITS)
    if session.json:
        session.show_json(said)
    answer: dict[str, Any] = said["answer"]
    return answer


def messages(
    ctx: typer.Context,
    state: str | None = typer.Option(
        None, help="Only received, partial, attributed, unmatched, phone, foreign or undecodable ones."
    ),
    lane: str | None = typer.Option(None, help="Only what this lane received."),
    limit: int = typer.Option(50, min=1, help="How many at most, newest first."),
) -> None:
    """The texts that came in, newest first."""
    from app.faces.cli.gateway import Gateway

    session: Session = ctx.obj
    params: dict[str, str | int] = {"state": state} if state is not None else {}
    params |= {"lane": lane} if lane is not None else {}
    with Gateway(session.settings().client) as gateway:
        found = gateway.items("/v1/messages", params, limit)
    if session.json:
        session.show_json({"items": found})
        return
    if not found:
        session.say("No message has come in yet." if not params else "No such message has come in.")
        return
    session.table(
        ("received", "lane", "sender", "state", "why", "text"),
        (
            (
                item["received_at"],
                item["lane"],
                item["sender"],
                item["state"],
                item["reason"] or item["role"],
                item["text"],
            )
            for item in found
        ),
    )


@phone.command("allow")
def phone_allow(
    ctx: typer.Context,
    number: str = typer.Argument(help="A mobile number, as 0812… or +62812…."),
    language: str | None = typer.Option(None, help="Of our answers: id or en."),
) -> None:
    """Let a number ask by SMS."""
    _set(ctx.obj, number, True, language)


@phone.command("deny")
def phone_deny(ctx: typer.Context, number: str = typer.Argument(help="The mobile number.")) -> None:
    """Answer a number no more, also where everybody may ask."""
    _set(ctx.obj, number, False, None)


@phone.command("remove")
def phone_remove(ctx: typer.Context, number: str = typer.Argument(help="The mobile number.")) -> None:
    """Forget what was said about a number."""
    from app.faces.cli.gateway import Gateway

    session: Session = ctx.obj
    with Gateway(session.settings().client) as gateway:
        answer = gateway.call("DELETE", f"/v1/phones/{quote(number, safe='')}")
    if session.json:
        session.show_json(answer)
    session.say(f"Forgotten: {number}")


@phone.command("list")
def phone_list(ctx: typer.Context) -> None:
    """The numbers that were let in or denied."""
    from app.faces.cli.gateway import Gateway

    session: Session = ctx.obj
    with Gateway(session.settings().client) as gateway:
        found = gateway.items("/v1/phones", {}, 100_000)
    if session.json:
        session.show_json({"items": found})
        return
    if not found:
        session.say("No number was let in yet. `bpjs-sms phone allow NUMBER` lets one in.")
        return
    session.table(
        ("number", "may ask", "language", "said stop"),
        (
            (
                item["number"],
                "yes" if item["allowed"] else "no",
                item["language"],
                "yes" if item["opted_out"] else None,
            )
            for item in found
        ),
    )


def _set(session: Session, number: str, allowed: bool, language: str | None) -> None:
    from app.faces.cli.gateway import Gateway

    body: dict[str, Any] = {"allowed": allowed, **({"language": language} if language is not None else {})}
    with Gateway(session.settings().client) as gateway:
        answer = gateway.call("PUT", f"/v1/phones/{quote(number, safe='')}", json=body)
    if session.json:
        session.show_json(answer)
    session.say(f"{number} {'may ask by SMS now' if allowed else 'is answered no more'}.")
