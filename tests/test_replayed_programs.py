"""What ModemManager and Kannel send, replayed: both have been run on a simulated dongle, but want more than a port to run.

ModemManager 1.20 takes a bus, and sockets in place of ports; Kannel two daemons and their own network ports. Their sources:
ModemManager src/mm-port-probe.c (probing), src/mm-broadband-modem.c (opening). Kannel 1.4.5 gw/smsc/smsc_at.c (at2).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from modem.pdu import encode_submit
from modem.simulated import Dongle, Network, Sim
from modem.simulated.personality import personalities

PERSON, OWN = "+6289900000001", "+628170000001"
START = datetime(2026, 11, 24, 2, tzinfo=UTC)
FINAL = r"(?:OK|ERROR|COMMAND NOT SUPPORT|\+CM[ES] ERROR: [^\r]+)"
ANY = FINAL  # whatever it is: the program takes an error for "does not have it"
# What ModemManager sends while it probes a port and opens a modem, with what its parsers need of the answer before OK.
PROBED: tuple[tuple[str, str], ...] = (
    ("AT", ""),
    ("AT+CGMI", r"\S.*"),
    ("AT+GMI", r"\S.*"),
    ("ATI", r"\S.*"),
    ("AT+CGMM", r"\S.*"),
    ("AT+GMM", r"\S.*"),
    ("AT%IPSYS?", ANY),
    ("AT+XACT=?", ANY),
    ("AT^GETPORTMODE", ANY),
    ("ATZ E0 V1", ""),
    ("ATX4", ""),
    ("AT&C1", ""),
    ("AT+CMEE=1", ""),
    ("AT+IFC=1,1", ""),
    ("AT+GCAP", r"\+GCAP: ?.*\+CGSM.*"),
    ("AT+CPIN?", r"\+CPIN: ?READY"),
    ("AT+CFUN?", r"\+CFUN: ?1(,0)?"),
    ("AT+CGMR", r"\S.*"),
    ("AT+CGSN", r"(\+CGSN: ?)?\"?\d{15}\"?"),
    ("AT+CIMI", r"\d{15}"),
    ("AT+CRSM=176,12258,0,0,10", r'\+CRSM: ?144,0,"[0-9A-F]{20}"'),
    ("AT+CRSM=176,28589,0,0,4", r"\+CRSM: ?\d+,\d+.*"),
    ("AT+CNUM", r'\+CNUM: ?"[^"]*","\+?\d+",(129|145)'),
    ("AT+CLCK=?", r'\+CLCK: ?\(.*"SC".*\)'),
    ('AT+CLCK="SC",2', r"\+CLCK: ?0"),
    ("AT+CSCS=?", r'\+CSCS: ?\(.*"UCS2".*\)'),
    ('AT+CSCS="UCS2"', ""),
    ("AT+CSCS?", r'\+CSCS: ?"(UCS2|0055004300530032)"'),
    ("AT+CSQ", r"\+CSQ: ?\d+,\d+"),
    ("AT+CIND=?", r'\+CIND: ?\("signal",\(0-5\)\),.*'),
    ("AT+CMER=?", r"\+CMER: ?\([\d,-]+\).*"),
    ("AT+CREG=2", ""),
    ("AT+CGREG=2", ""),
    ("AT+CREG?", r'\+CREG: ?2,1,"[0-9A-F]+","[0-9A-F]+"(,\d+)?'),
    ("AT+CGREG?", r'\+CGREG: ?2,1,"[0-9A-F]+","[0-9A-F]+".*'),
    ("AT+CEREG=2", ANY),
    ("AT+COPS=3,2;+COPS?", r'\+COPS: ?\d,2,"\d{5,6}"(,\d)?'),
    ("AT+COPS=3,0;+COPS?", r'\+COPS: ?\d,0,"[^"]+"(,\d)?'),
    ("AT+WS46=?", r"(\+WS46: ?)?\([\d,]+\)"),
    ("AT+CSMS?", r"\+CSMS: ?[01],1,1,\d"),
    ("AT+CMGF=?", r"\+CMGF: ?\(0[,-]1\)"),
    ("AT+CPMS=?", r'\+CPMS: ?\(("\w\w",?)+\),\(("\w\w",?)+\),\(("\w\w",?)+\)'),
    ("AT+CMGF=0", ""),
    ("AT+CNMI=?", r"\+CNMI: ?\([\d,-]+\),\([\d,-]+\),\([\d,-]+\),\([\d,-]+\),\([\d,-]+\)"),
    ("AT+CNMI=2,1,2,1,0", ""),
    ("AT+CMGL=4", ""),
    ("AT+CUSD=?", r"\+CUSD: ?\([\d,-]+\)"),
    ("AT+CUSD=1", ""),
    ("AT+CGDCONT=?", r'\+CGDCONT: ?\(1-\d+\),"IP".*'),
    ("AT+CCLK?", r'\+CCLK: ?"\d\d/\d\d/\d\d,\d\d:\d\d:\d\d[+-]\d\d"'),
    ("AT+CTZU=1", ANY),
)


class Line:
    """A dongle of one personality, spoken to by one program, with time that goes on by itself."""

    def __init__(self, personality: str) -> None:
        self.network = Network(1)
        self.network.step(START)
        self.network.person(PERSON)
        sim = Sim(iccid="8999000000000000017", imsi="510110000000001", own_number=OWN)
        self.dongle = Dongle(self.network, sim, imei="990000000000011", personality=personality)
        self.now = START + timedelta(minutes=2)  # the slowest boots in seconds
        self.dongle.step(self.now)

    def say(self, data: str) -> str:
        """What the stick says to these bytes, within the second that a program would wait at the least."""
        self.now += timedelta(seconds=1)
        said = self.dongle.feed(data.encode(), self.now)
        self.now += timedelta(seconds=1)
        return (said + self.dongle.step(self.now)).decode("latin-1")

    def command(self, command: str) -> str:
        return self.say(f"{command}\r").removeprefix(f"{command}\r")

    def good(self, command: str) -> str:
        """The lines before OK. Fails on any other end."""
        answer = self.command(command)
        assert answer.endswith("\r\nOK\r\n"), f"{command}: {answer!r}"
        return answer.removesuffix("OK\r\n").strip()

    def ledger(self, kind: str) -> list[str]:
        return [entry.text for entry in self.network.ledger if entry.kind == kind]


@pytest.fixture(params=list(personalities()))
def line(request: pytest.FixtureRequest) -> Line:
    return Line(request.param)


def test_modemmanagers_probing_finds_a_modem_that_it_can_use(line: Line) -> None:
    wrong = []
    for command, wanted in PROBED:
        answer = line.command(command)
        body = "\n".join(one for one in answer.split("\r\n") if one)
        pattern = ANY + "|(?s:.+\nOK)" if wanted == ANY else f"(?s:{wanted})\nOK" if wanted else "OK"
        if re.fullmatch(pattern, body) is None or len(re.findall(f"(?m)^{FINAL}$", body)) != 1:
            wrong.append((command, body))
    assert not wrong
    assert not line.network.ledger


def test_modemmanager_is_told_of_a_text_where_it_then_finds_it(line: Line) -> None:
    for command in ("ATZ E0 V1", "AT+CMEE=1", "AT+CMGF=0", "AT+CNMI=2,1,2,1,0"):
        line.good(command)
    line.network.text(PERSON, OWN, "Halo", now=line.now)
    told = re.search(r'\+CMTI: ?"(\w\w)",(\d+)\r\n', line.say(""))
    assert told is not None
    line.good(f'AT+CPMS="{told[1]}"')
    assert re.fullmatch(r"\+CMGR: ?0,[^,]*,\d+\r\n[0-9A-F]+", line.good(f"AT+CMGR={told[2]}"))
    assert line.good(f"AT+CMGD={told[2]}") == ""
    assert line.ledger("received") == ["Halo"]


def opened_by_kannel(line: Line) -> None:
    for command in ("AT", "AT&F", "ATE0", "AT+IFC=2,2", "ATI"):
        assert line.command(command).endswith(("OK\r\n", "ERROR\r\n", "SUPPORT\r\n", "ERROR: 4\r\n")), command
    assert "+CPIN: READY" in line.good("AT+CPIN?")
    line.good("AT+CMGF=0")
    assert re.search(r"\([^)]*1[^)]*\)", line.good("AT+CSMS=?")), "Kannel acknowledges only in phase 2+"
    line.good("AT+CSMS=1")
    line.good("AT+CNMI=1,2,0,1,0")


def test_kannel_is_handed_texts_and_acknowledges_each(line: Line) -> None:
    opened_by_kannel(line)
    for text in ("satu", "dua"):
        line.network.text(PERSON, OWN, text, now=line.now)
        assert re.fullmatch(r"\r\n\+CMT: ?[^,]*,\d+\r\n[0-9A-F]+\r\n", line.say(""))
        line.good("AT+CNMA")
    assert line.ledger("received") == ["satu", "dua"]
    assert not line.dongle.sim.storage.slots
    assert not line.dongle.me.slots


def test_kannel_sends_and_is_handed_the_report(line: Line) -> None:
    opened_by_kannel(line)
    part = encode_submit(PERSON, "Halo", validity=None, report=True, concat_reference=0)[0]
    assert line.command(f"AT+CMGS={len(part.pdu) // 2 - 1 - int(part.pdu[:2], 16)}").endswith("> ")
    answer = line.say(f"{part.pdu}\x1a")
    assert re.search(r"\+CMGS: ?\d+.*\r\n\r\nOK\r\n", answer)
    assert re.search(r"\+CDS: ?\d+\r\n[0-9A-F]+\r\n", answer + line.say(""))
    line.good("AT+CNMA")
    assert line.ledger("submitted") == ["Halo"]
    assert line.ledger("report") == ["Halo"]


def test_kannel_polls_a_storage_and_empties_it(line: Line) -> None:
    opened_by_kannel(line)
    line.good("AT+CNMI=1,0,0,0,0")
    line.network.text(PERSON, OWN, "Halo", now=line.now)
    used = re.search(r'\+CPMS: ?"SM",(\d+),(\d+)', line.good("AT+CPMS?"))
    assert used is not None
    assert used[1] == "1"
    first = line.dongle.personality.first_index
    assert line.good(f"AT+CMGR={first}").startswith("+CMGR:")
    line.good(f"AT+CMGD={first}")
    assert '"SM",0,' in line.good("AT+CPMS?")


def test_kannel_hangs_up_a_call(line: Line) -> None:
    opened_by_kannel(line)
    assert line.dongle.call(PERSON, line.now)
    assert "RING" in line.say("")
    line.good("ATH0")
    assert "RING" not in line.say("")
