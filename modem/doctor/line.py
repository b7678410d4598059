"""Open a port that nobody holds and find out what answers there: first the bytes, then the modem, then its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from modem import at
from modem.doctor.facts import QUERIES, Line, PortFacts, gather
from modem.port import Modem, ModemError, PortSettings
from modem.transport import open_port

BAUDS = (115200, 9600, 19200, 38400, 57600, 230400, 460800)
"""What serial GSM boards are set to (SIMCom's SIM800 manual, AT+IPR), the usual one first."""
_READ = 0.2  # seconds that one read waits
_TRIES = 3  # of AT, within the wake timeout: SIMCom's autobauding modems lose the first
_SETUP_SECONDS = 1.0  # for ATE0 and such
_QUERY_SECONDS = 15.0  # for one query; what the network answers takes about 5
_SAMPLE = 8  # unprintable bytes, at least, that make noise of what was heard


def examine_port(
    settings: PortSettings,
    open_modem: Callable[[PortSettings], Modem],
    *,
    bauds: Sequence[int] = (),
    clock: Callable[[], float] | None = None,
) -> PortFacts:
    """Everything that can be learned of a port. No PIN is offered, nothing is sent, nothing is deleted.

    `bauds`: what to try where the configured one is not answered, for a serial line; a stick's USB port has no speed.
    """
    try:
        with closing(open_port(settings.url, settings.baud)) as port:
            line = _listen(port, settings, bauds)
    except ModemError as no:
        return PortFacts(settings.url, refusal=(no.code, no.detail))
    except OSError as lost:
        return PortFacts(settings.url, refusal=("port_lost", f"the port failed while it was asked ({lost})"))
    if line.answers_at != settings.baud:
        return PortFacts(settings.url, line=line)
    modem = open_modem(replace(settings, pin=None, may_offer_pin=False))
    try:
        modem.open()
        facts = gather(modem, settings.url, clock)
    except ModemError as no:
        facts = _raw_facts(settings, (no.code, no.detail))
    finally:
        modem.close()
    return replace(facts, line=line)


def _raw_facts(settings: PortSettings, refusal: tuple[str, str]) -> PortFacts:
    """The driver would not open it: ask without it."""
    answers: dict[str, tuple[str, ...]] = {}
    try:
        with closing(open_port(settings.url, settings.baud)) as port:
            for setup in ("ATE0", "AT+CMEE=1"):
                _ask(port, setup, _SETUP_SECONDS)
            for query in QUERIES:
                answers[query] = _ask(port, query, _QUERY_SECONDS)
                if query == "AT+CPIN?" and not answers[query]:
                    break
            if tries := PortFacts("", answers).quirks.pin_tries:
                answers[tries] = _ask(port, tries, _QUERY_SECONDS)
    except (ModemError, OSError):
        pass  # the refusal tells already
    return PortFacts(settings.url, answers, refusal=refusal)


def _listen(port: Any, settings: PortSettings, others: Sequence[int]) -> Line:
    baud, heard = settings.baud, b""
    seconds = settings.wake_timeout.total_seconds() / _TRIES
    for speed in (baud, *(other for other in others if other != baud)):
        if port.baudrate != speed:
            port.baudrate = speed
        port.timeout = _READ
        for _ in range(_TRIES):
            port.write(b"\x1bAT\r")  # ESC ends a text that an earlier session left half entered
            said = _read(port, seconds, lambda data: b"OK" in data)
            if b"OK" in said:
                return Line(baud, speed)
            heard += said
    return Line(baud, None, _noise(heard))


def _noise(heard: bytes) -> str | None:
    if len(heard) >= _SAMPLE and heard.count(0xFF) * 2 > len(heard):
        return "ff"
    strange = sum(1 for byte in heard if not (32 <= byte < 127 or byte in b"\t\r\n\x1b"))
    return "garbage" if strange >= _SAMPLE else None


def _ask(port: Any, command: str, seconds: float) -> tuple[str, ...]:
    """The lines of an answer with its result; nothing where the time ran out."""
    port.timeout = _READ
    port.write(f"{command}\r".encode("ascii"))
    found: list[str] = []

    def done(data: bytes) -> bool:
        found[:] = at.LineBuffer().feed(data)
        return any(map(at.is_final, found))

    _read(port, seconds, done)
    name = command.removeprefix("AT").rstrip("?").split("=")[0]
    kept = [
        line for line in found if line != command and (line.startswith(f"{name}:") or not at.is_urc(line))
    ]
    ends = [place for place, line in enumerate(kept) if at.is_final(line)]
    return tuple(kept[: ends[0] + 1]) if ends else ()


def _read(port: Any, seconds: float, enough: Callable[[bytes], bool]) -> bytes:
    """What comes in until it is enough, or until it was still for so many seconds together."""
    data = b""
    for _ in range(max(1, round(seconds / _READ))):
        while piece := bytes(port.read(1)):
            data += piece + bytes(port.read(port.in_waiting))
            if enough(data) or len(data) > 65536:
                return data
    return data
