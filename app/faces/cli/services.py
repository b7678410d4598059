"""`services`: the catalogue of official services, its files checked and their examples run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from app.domain.durations import format_duration
from app.faces.cli.output import INPUT, Session, rupiah

if TYPE_CHECKING:
    from app.domain.services import Catalogue, Service

services = typer.Typer(help="The official SMS services and their files.", invoke_without_command=True)


@services.callback()
def _services(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        services_list(ctx)


@services.command("list")
def services_list(ctx: typer.Context) -> None:
    """Every service, with what it costs and how sure we are of it."""
    session: Session = ctx.obj
    found = load_catalogue(session)
    if session.json:
        session.show_json({"items": [_short(service) for service in found]})
        return
    session.table(
        ("service", "what it tells", "fields", "to", "price", "trust", "enabled"),
        (
            (
                service.name,
                service.title.en,
                ", ".join(service.fields),
                service.address,
                _price(service),
                service.provenance.trust,
                "yes" if service.enabled else "no",
            )
            for service in found
        ),
    )


@services.command("show")
def services_show(ctx: typer.Context, name: str = typer.Argument(help="The service's name.")) -> None:
    """All about one service, with how often one SIM can ask it."""
    from app.domain.capacity import per_hour

    session: Session = ctx.obj
    service = load_catalogue(session)[name]
    hourly = per_hour(service)
    if session.json:
        session.show_json({**service.model_dump(mode="json"), **_short(service), "per_hour": hourly})
        return
    timing = service.timing
    session.pairs(
        {
            "agency": service.agency,
            "asks": f"{service.request_text} to {service.address}",
            "answers from": ", ".join(service.senders),
            "phone": ", ".join(service.phone) or None,
            "operators": ", ".join(service.operators) or "any",
            "enabled": "yes" if service.enabled else "no",
            "price": _price(service),
            "provenance": f"{service.provenance.trust}: {service.provenance.source}, {service.provenance.checked}",
            "names the card": f"{service.echo} (evidence needed: {service.require_evidence})",
            "timeout": format_duration(timing.timeout),
            "late": format_duration(timing.late),
            "settle": format_duration(timing.settle),
            "ask again": timing.ask_again,
            "an hour and SIM": f"about {hourly} questions, for a reply must never be given to the wrong card",
        },
        f"{service.name}: {service.title.en}",
    )
    session.table(
        ("field", "kind", "label", "required"),
        (
            (
                field.name,
                field.kind,
                f"{field.label.en} / {field.label.id}",
                "yes" if field.required else "no",
            )
            for field in service.fields.values()
        ),
    )
    session.table(
        ("reply", "outcome", "names the card", "examples"),
        (
            (
                reply.name,
                reply.outcome,
                "yes" if reply.echo else "no",
                sum(example.reply == reply.name for example in service.examples),
            )
            for reply in service.replies
        ),
    )


@services.command("lint")
def services_lint(ctx: typer.Context) -> None:
    """Check the files against each other and against their examples."""
    from app.domain.lint import lint

    session: Session = ctx.obj
    found = load_catalogue(session)
    problems = lint(found)
    if session.json:
        session.show_json({"services": len(found), "problems": problems})
    elif problems:
        for problem in problems:
            session.say(problem)
    else:
        session.say(f"{len(found)} services, nothing wrong.")
    raise typer.Exit(INPUT if problems else 0)


@services.command("test")
def services_test(
    ctx: typer.Context, name: str | None = typer.Argument(None, help="Only this service.")
) -> None:
    """Read every example of the files and compare what comes out."""
    from app.domain.reading import read

    session: Session = ctx.obj
    catalogue = load_catalogue(session)
    results: list[dict[str, Any]] = []
    for service in [catalogue[name]] if name is not None else catalogue:
        for example in service.examples:
            reading = read(service, example.text)
            right = (reading.reply or "") == example.reply and reading.record == example.record
            results.append(
                {
                    "service": service.name,
                    "reply": example.reply,
                    "text": example.text,
                    "ok": right,
                    "read_as": reading.reply or "",
                    "record": reading.record,
                }
            )
    wrong = [result for result in results if not result["ok"]]
    if session.json:
        session.show_json({"examples": len(results), "wrong": len(wrong), "results": results})
    else:
        for result in wrong:
            session.say(
                f"{result['service']}: {result['text']!r} should be read as {result['reply'] or 'nothing'!r}, "
                f"and is read as {result['read_as'] or 'nothing'!r} with {result['record']}"
            )
        session.say(f"{len(results)} examples, {len(wrong)} wrong.")
    raise typer.Exit(INPUT if wrong else 0)


def load_catalogue(session: Session) -> Catalogue:
    """The services that `serve` would use. SettingsError names the file that is wrong."""
    from importlib.resources import files

    from app.domain.services import Catalogue

    settings = session.settings()
    return Catalogue.load(files("templates_sms"), settings.services, settings.overrides())


def _short(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "agency": service.agency,
        "title": service.title.model_dump(),
        "address": service.address,
        "fields": list(service.fields),
        "price": service.price.model_dump(mode="json"),
        "trust": service.provenance.trust,
        "echo": service.echo,
        "enabled": service.enabled,
    }


def _price(service: Service) -> str:
    return rupiah(service.price.request) + ("" if service.price.confirmed_on else " (a guess)")
