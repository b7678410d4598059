"""A simulated stick, and AT said to it, for the tests that look at its bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from modem.pdu import encode_submit
from modem.simulated import Dongle, Network, Reply, Sim

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
OWN = "+628170000001"
CENTRE = "0891261807000099F9"


def second(count: float) -> datetime:
    return START + timedelta(seconds=count)


def new_dongle(
    *,
    network: Network | None = None,
    pin: str | None = None,
    sm_slots: int = 30,
    maker: str | None = None,
    personality: str | None = None,
) -> Dongle:
    network = network or Network()
    network.step(START)
    network.subscriber("2757", lambda sender, text, now: [Reply("halo " + text)])
    sim = Sim("8999000000000000017", "510110000000001", "+628170000001", pin=pin, sm_slots=sm_slots)
    return Dongle(network, sim, imei="990000000000011", maker=maker, personality=personality)


def say(dongle: Dongle, line: str, now: datetime = START) -> str:
    return dongle.feed(line.encode("latin-1") + b"\r", now).decode("latin-1")


def ready(**options: object) -> Dongle:
    dongle = new_dongle(**options)  # type: ignore[arg-type]
    say(dongle, "ATE0")
    say(dongle, "AT+CMEE=1;+CNMI=2,1,0,0,0")
    say(dongle, "AT+CNMI=2,1,0,2,0")  # not every stick stores reports
    return dongle


def send(dongle: Dongle, address: str, text: str, now: datetime = START, **options: object) -> str:
    said = ""
    submit = {"validity": None, "report": False, "concat_reference": 7} | options
    for part in encode_submit(address, text, **submit):  # type: ignore[arg-type]
        said += say(dongle, f"AT+CMGS={part.length}", now)
        said += dongle.feed(part.pdu.encode() + b"\x1a", now).decode("latin-1")
    return said
