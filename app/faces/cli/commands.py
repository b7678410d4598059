"""The commands of `bpjs-sms`. Heavy imports stand in the commands, so that `--help` is quick."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from app.domain.errors import GatewayError, Invalid, SettingsError
from app.faces.cli.asking import batch, check
from app.faces.cli.database import db, keys
from app.faces.cli.doctor import EXITS, doctor
from app.faces.cli.looking import lanes, messages, phone
from app.faces.cli.output import EXIT_STATUS, INPUT, INTERRUPTED, Session
from app.faces.cli.services import services

if TYPE_CHECKING:
    from app.runtime import Runtime
    from app.store.engine import Store

TRIAL_KPJ = "99012345678"
"""A card that no province can have; the simulated service answers `found` for it."""

EPILOG = "\n\n".join(
    [
        "Exit status:",
        *(f"{status}: {meaning}" for status, meaning in EXIT_STATUS.items()),
        "--json and --config FILE may also stand after the command.",
    ]
)

app = typer.Typer(
    name="bpjs-sms",
    help="Ask Indonesia's official social-security SMS services about a card, from a GSM dongle of your own.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    config: Path | None = typer.Option(None, metavar="FILE", help="The TOML file with the settings."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON and nothing else."),
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    session: Session = ctx.obj
    session.config, session.json = config, as_json
    if version:
        from importlib.metadata import version as installed

        number = installed("bpjs-sms-gateway")
        if as_json:
            session.show_json({"version": number})
        session.say(f"bpjs-sms {number}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        ctx.fail("There is no command.")


@app.command()
def serve(
    ctx: typer.Context,
    simulated: int = typer.Option(
        0, min=0, max=64, metavar="N", help="Run on N simulated dongles, with simulated services behind them."
    ),
    host: str | None = typer.Option(None, help="Where to serve HTTP, instead of the settings' server.host."),
    port: int | None = typer.Option(
        None,
        min=0,
        max=65535,
        help="Its port, instead of the settings' server.port; 0 takes any that is free.",
    ),
    with_key: bool = typer.Option(False, "--with-key", help="Make a key, and print it with a call to try."),
    trace: Path | None = typer.Option(
        None, metavar="FILE", help="Also write the exchange with the modems there, identifiers replaced."
    ),
) -> None:
    """Run the gateway: lanes, HTTP, and everything between."""
    session: Session = ctx.obj
    server = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = session.settings({"server": server} if server else None)
    if not settings.lanes and not simulated:
        raise SettingsError(
            "There is no lane to send from. Write into bpjs-sms.toml:\n\n"
            '[[lanes]]\nname = "xl-1"\nport = "/dev/ttyUSB2"\n\n'
            "With a dongle plugged in, bpjs-sms doctor says which port. Without one: bpjs-sms serve --simulated 2"
        )
    from app.runtime import serve as run_gateway

    def started(runtime: Runtime, url: str) -> None:
        if with_key:
            _offer_key(session, runtime.store, url)

    run_gateway(settings, simulated=simulated, trace=trace, started=started)


@app.command()
def demo(ctx: typer.Context) -> None:
    """Run the whole chain on simulated dongles and show what came out."""
    from app.faces.cli.demo import run as run_demo

    session: Session = ctx.obj
    raise typer.Exit(run_demo(session))


@app.command()
def simulate(
    ctx: typer.Context,
    pty: Path = typer.Option(
        ..., metavar="DIR", help="Where to put the dongles' ports, a control socket and the ledger."
    ),
    sims: int = typer.Option(1, min=1, max=64, metavar="N", help="How many dongles."),
    radio: str = typer.Option("0s", metavar="DURATION", help="How long an SMS is on the air."),
    reply_after: str = typer.Option("1s", metavar="DURATION", help="How long a service takes to answer."),
    late: str = typer.Option("30s", metavar="DURATION", help="How long a late answer takes."),
    seed: int = typer.Option(0, help="The same seed, the same network."),
    no_card_number: bool = typer.Option(False, "--no-card-number", help="Answers never name the card."),
    personality: str = typer.Option(
        "huawei",
        metavar="KINDS",
        help="Kinds of sticks, in turn, with commas between: huawei, zte, simcom, quectel, etsi.",
    ),
    credit: int = typer.Option(
        10_000_000, min=0, metavar="RUPIAH", help="What each SIM has; *888# tells it."
    ),
    chaos: float = typer.Option(
        0.0, min=0.0, max=1.0, metavar="CHANCE", help="How likely every fault is, at each of its occasions."
    ),
) -> None:
    """Put simulated dongles on ptys, for any program that speaks AT: DIR/xl-1, its second port DIR/xl-1.app, …"""
    session: Session = ctx.obj
    durations = {"radio": radio, "reply_after": reply_after, "late": late}
    kinds = [kind.strip() for kind in personality.split(",")]
    options = {
        "seed": seed,
        "names_card": not no_card_number,
        "kinds": kinds,
        "credit": credit,
        "chaos": chaos,
    }
    _simulate(session, pty, sims, durations, options)


@app.command()
def config(ctx: typer.Context) -> None:
    """Print the settings in force, secrets masked."""
    import os

    from app.settings import find_config, masked, merged

    session: Session = ctx.obj
    settings = session.settings()
    if session.json:
        session.show_json(masked(settings))
        return
    file = find_config(session.config, os.environ)
    session.say(f"# {f'from {file}' if file else 'there is no settings file: defaults'}, and the environment")
    session.say(merged(settings).rstrip("\n"))


app.command()(check)
app.command()(batch)
app.command()(messages)
app.command(epilog=EXITS)(doctor)
app.add_typer(lanes, name="lanes")
app.add_typer(services, name="services")
app.add_typer(phone, name="phone")
app.add_typer(keys, name="keys")
app.add_typer(db, name="db")


def run(arguments: Sequence[str]) -> int:
    """Run one command line; its exit status. Every expected error is a sentence on stderr, or a problem on stdout with `--json`."""
    arguments = hoist(arguments)
    session = Session(json=arguments[:1] == ["--json"])
    try:
        status = app(arguments, prog_name="bpjs-sms", standalone_mode=False, obj=session)
    except typer.TyperException as error:
        return _usage(session, error)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except GatewayError as error:
        return session.complain(error)
    except Exception as error:
        from modem.port import ModemError

        return session.complain(error) if isinstance(error, ModemError) else session.crash(error)
    return status if isinstance(status, int) else 0


def hoist(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--json` and `--config FILE` in front, wherever they stood before a `--`."""
    front: list[str] = []
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--":
            rest += [argument, *waiting]
        elif argument == "--json":
            front = ["--json", *[kept for kept in front if kept != "--json"]]
        elif argument.startswith("--config="):
            front.append(argument)
        elif argument == "--config":
            front += [argument, *[value for value in [next(waiting, None)] if value is not None]]
        else:
            rest.append(argument)
    return front + rest


def _usage(session: Session, error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "bpjs-sms"
    if type(error).__name__ == "NoArgsIsHelpError":  # the help was shown
        return INPUT
    return session.usage(error.format_message(), f"See `{command} --help`.")


def _offer_key(session: Session, store: Store, url: str) -> None:
    """Make the key `try-it`, ending earlier ones of that name, and print a call that works as printed."""
    from app.faces.cli.database import make_trial_key

    secret = make_trial_key(store)
    url = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    curl = (
        f"curl -s {url}/v1/checks -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' "
        f"""-H 'Prefer: wait=30' -d '{{"service": "bpjstk-balance", "fields": {{"kpj": "{TRIAL_KPJ}"}}}}'"""
    )
    if session.json:
        session.show_json({"url": url, "key": secret, "curl": curl})
    session.say(f"key   {secret}\ntry   {curl}\ndocs  {url}/docs")


def _simulate(
    session: Session, folder: Path, sims: int, durations: dict[str, str], options: dict[str, Any]
) -> None:
    import signal
    import threading

    from app.domain.durations import parse_duration
    from app.simulation import build_world, run_pty

    try:
        spans: dict[str, Any] = {name: parse_duration(text) for name, text in durations.items()}
        world = build_world(sims, **spans, **options)
    except ValueError as error:
        raise Invalid(f"{error}.") from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    folder = folder.absolute()
    session.note(f"{sims} simulated {'dongle' if sims == 1 else 'dongles'} in {folder}; Ctrl-C ends this.")
    for name, dongle in world.dongles.items():
        session.note(f"  {folder / name}  {dongle.maker} {dongle.model}, number {dongle.sim.own_number}")
    first, one = next(iter(world.dongles.items()))
    session.note(
        f"""try   BPJS_SMS_LANES='[{{"name": "{first}", "port": "{folder / first}"}}]' bpjs-sms doctor
      echo '{{"do": "text", "from": "PROMO", "to": "{one.sim.own_number}", "text": "halo"}}' | nc -U {folder}/control.sock
      echo '{{"do": "stats"}}' | nc -U {folder}/control.sock     # faults, storages, credit; "faults" lists what may go wrong
      tail -f {folder}/ledger.ndjson                   # what really was on the air
nc is in Debian's netcat-openbsd; every order stands in docs/simulator.md"""
    )
    try:
        run_pty(folder, world, stop)
    except OSError as error:
        raise GatewayError(
            "unreachable",
            f"The simulated ports cannot be made in {folder}: {error.strerror or error}. Name another folder.",
        ) from None
