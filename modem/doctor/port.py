"""What is wrong with a modem and its SIM, from what they answered. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modem import at
from modem.doctor.facts import PortFacts
from modem.doctor.findings import WARNING, Finding, fault, masked, warning

WEAK = 6
"""<rssi> of +CSQ below which sending often fails: 5 is -103 dBm (3GPP TS 27.007 §8.5), 2G needs about -102 dBm (TS 45.005 §6.2)."""
SLOW = 5.0
"""Seconds for a local query: half of the driver's deadline for an answer (`PortSettings.answer_timeout`)."""
PIN_TRIES = 3  # 3GPP TS 31.101 §9.5.1
_SMS_CLASS = 8  # <class> of +CLCK, 3GPP TS 27.007 §7.4
_SIM_ABSENT = re.compile(r"\+CM[ES] ERROR: (?:10|310|SIM not inserted)", re.IGNORECASE)
_SIM_BROKEN = re.compile(r"\+CM[ES] ERROR: (?:13|15|313|315|SIM failure|SIM wrong)", re.IGNORECASE)
_BY_ERROR = {
    "11": "SIM PIN",
    "12": "SIM PUK",
    "5": "PH-SIM PIN",
    "311": "SIM PIN",
    "316": "SIM PUK",
    "312": "PH-SIM PIN",
}
_LOCKS = ("PH-NET", "PH-SIM", "PH-SP", "PH-CORP", "PH-FSIM", "PH-NETSUB")
_ONLY = {
    ("AT+WS46?", "22"): "3G",
    ("AT+WS46?", "28"): "4G",
    ("AT+CNMP?", "14"): "3G",
    ("AT+CNMP?", "38"): "4G",
    ("AT+ZSNT?", "2"): "3G",
    ("AT^SYSCFG?", "14"): "3G",
    ("AT^SYSCFGEX?", "02"): "3G",
    ("AT^SYSCFGEX?", "03"): "4G",
}
"""A lock to one kind of network, by query and value: 3GPP TS 27.007 §5.9, the AT manuals of SIMCom, ZTE and Huawei."""


def port_findings(facts: PortFacts, *, pin_given: bool = False) -> list[Finding]:
    """Every finding of one port; the first thing that stands in the way hides what only follows from it.

    `pin_given`: the settings hold a PIN for this SIM, which the doctor itself never offers.
    """
    for look in (_line, _opening):
        if found := list(look(facts)):
            return found
    found = list(_modem(facts))
    if sim := list(_sim(facts, pin_given)):
        return found + sim
    if _sim_state(facts) != "SIM PIN":  # else the settings have a PIN, which the gateway will offer
        found += [*_network(facts), *_sms(facts)]
        if facts.refusal is not None and all(finding.severity == WARNING for finding in found):
            found.append(_unexplained(facts, facts.refusal))
    return found


def _unexplained(facts: PortFacts, refusal: tuple[str, str]) -> Finding:
    return fault(
        "modem_refuses",
        facts.port,
        "The gateway cannot set this modem up, and its answers do not show why.",
        f"{refusal[0]}: {refusal[1]}",
        "plug the stick out, wait ten seconds, and plug it in again; if it stays so, use another stick, and report this line",
    )


# -- the line -----------------------------------------------------------------------------------------------------


def _line(facts: PortFacts) -> Iterator[Finding]:
    line, port = facts.line, facts.port
    if line is None or line.answers_at == line.baud:
        return
    if line.answers_at is not None:
        yield fault(
            "wrong_baud",
            port,
            f"The modem speaks at {line.answers_at} baud, the settings say {line.baud}.",
            f"AT was answered with OK at {line.answers_at} baud and not at {line.baud}",
            f"write baud = {line.answers_at} into this lane",
        )
    elif line.noise == "ff":
        yield fault(
            "line_stuck",
            port,
            "The line says nothing but 0xFF: nothing drives it, as with a loose wire or a modem without power.",
            "AT was answered with bytes 0xFF at every speed",
            "check that the board has power (its lamp), that TX goes to RX and RX to TX, and that both share a ground",
        )
    elif line.noise is not None:
        yield fault(
            "line_noise",
            port,
            "There is only noise on the line: no speed that was tried gives legible characters.",
            "AT was answered with bytes that are no text, at every speed from 9600 to 460800 baud",
            "check the wires and their ground; find the board's speed in its manual and write baud = … into this lane",
        )
    else:
        yield fault(
            "no_answer",
            port,
            "Nothing answers AT on this port: it is another port of the stick, or the modem hangs.",
            "AT was sent several times, and not one byte came back",
            "name another port of the same stick; if none answers, plug the stick out, wait ten seconds, and plug it in again",
        )


_OPENING = {
    "port_busy": ("port_busy", "Another program has this port open.", "`sudo fuser -v {port}` names the program: end it"),
    "port_denied": ("no_permission", "This user may not open the port.", "`sudo usermod -aG dialout $USER`, then log out and in again"),
    "port_missing": ("port_missing", "The port cannot be opened.", "`bpjs-sms doctor` lists the ports that are there: write one of them"),
    "port_lost": ("port_lost", "The stick vanished while it was asked.", "plug it in again; if it happens when it sends: a hub with its own power supply"),
    "not_a_modem": ("no_answer", "What is behind the port is no modem that answers.", "name the control port of the stick"),
    "out_of_step": ("no_answer", "The modem stopped answering while it was set up.", "plug the stick out, wait ten seconds, and plug it in again"),
    "no_storage": ("no_storage", "The modem keeps no SMS that can be read, so no answer could ever be received.", "use another stick"),
}  # fmt: skip


def _opening(facts: PortFacts) -> Iterator[Finding]:
    if facts.refusal is None or facts.refusal[0] not in _OPENING:
        return
    code, what, mend = _OPENING[facts.refusal[0]]
    yield fault(code, facts.port, what, facts.refusal[1], mend.format(port=facts.port))


# -- the modem itself ---------------------------------------------------------------------------------------------


def check_digit_fits(imei: str) -> bool:
    """True if the fifteenth digit fits the others (Luhn; 3GPP TS 23.003 §6.2.1, Annex B)."""
    total = 0
    for place, char in enumerate(reversed(imei)):
        digit = int(char) * (1 + place % 2)
        total += digit - 9 * (digit > 9)
    return total % 10 == 0


def _modem(facts: PortFacts) -> Iterator[Finding]:
    port, imei = facts.port, facts.imei
    if imei is not None and not int(imei):
        yield fault(
            "imei_zero",
            port,
            "The stick has the IMEI zero: its memory was erased, and networks refuse such a stick sooner or later.",
            f"AT+CGSN answered {imei}",
            "use another stick, or have its maker's number (on its label) restored by the seller",
        )
    elif imei is not None and len(imei) == 15 and not check_digit_fits(imei):
        yield warning(
            "imei_check_digit",
            port,
            "The stick's IMEI is not a real one: its last digit does not fit. Indonesia's networks block devices that are not registered.",
            f"AT+CGSN answered {masked(imei)}, which fails the Luhn check",
            "compare with the label on the stick; the number can be looked up at imei.kemenperin.go.id",
        )
    modes = at.values_offered("+CMGF", facts.said("AT+CMGF=?"))
    if modes and 0 not in modes[0]:
        yield fault(
            "text_mode_only",
            port,
            "This modem has text mode only; the gateway needs PDU mode, in which nothing is lost or changed.",
            f"AT+CMGF=? answered {' '.join(facts.said('AT+CMGF=?'))}",
            "use another stick, or newer firmware from its maker",
        )
    if facts.refusal is not None and facts.refusal[0] == "no_indications":
        yield fault(
            "cnmi_refused",
            port,
            "The modem cannot say that an SMS came, and keeps none.",
            facts.refusal[1],
            "use another stick",
        )
    elif facts.refused("AT+CNMI=?") and facts.refused("AT+CNMI?"):
        yield warning(
            "cnmi_refused",
            port,
            "The modem does not tell when an SMS comes: it is asked every five seconds instead, so answers come a little later.",
            f"AT+CNMI=? answered {facts.refused('AT+CNMI=?')}",
            "nothing has to be done; another stick would be quicker",
        )
    elif facts.opened and any(
        body.split(",")[1:2] == ["0"] for body in at.bodies("+CNMI", facts.said("AT+CNMI?"))
    ):
        yield warning(
            "cnmi_refused",
            port,
            "The modem does not keep the setting by which it tells that an SMS came: it is asked every five seconds instead.",
            f"AT+CNMI? answers {' '.join(facts.said('AT+CNMI?'))} although another value was set",
            "`bpjs-sms lanes restart NAME`; if it comes back, another program uses the stick too, or its firmware is weak",
        )
    silent = facts.silent
    slowest = facts.slowest
    if silent or (slowest is not None and slowest[1] > SLOW):
        yield warning(
            "slow",
            port,
            "The modem is slower than its deadline.",
            f"{', '.join(silent)} had no answer in time"
            if silent
            else f"{slowest[0]} took {slowest[1]:.1f} s"
            if slowest
            else "",
            "plug the stick out and in again; if it stays slow, empty its SMS storage, take a newer firmware or another stick",
        )


# -- the SIM ------------------------------------------------------------------------------------------------------


def _sim_state(facts: PortFacts) -> str | None:
    state = at.pin_state(facts.said("AT+CPIN?"))
    if state is not None:
        return state
    said = facts.refused("AT+CPIN?") or ""
    if _SIM_ABSENT.fullmatch(said):
        return "NOT INSERTED"
    if _SIM_BROKEN.fullmatch(said):
        return "FAILURE"
    number = re.fullmatch(r"\+CM[ES] ERROR: (\d+)", said)
    if number and number[1] in ("14", "314"):
        return "NOT READY"
    return _BY_ERROR.get(number[1]) if number else None


def _tries(facts: PortFacts) -> tuple[int, str] | None:
    """PIN tries left, and the line that says so; None where the modem does not tell."""
    asked = {"AT+CPINR": r"\+CPINR:\s*\"?SIM PIN\"?,\s*(?P<tries>\d+)"}
    quirks = facts.quirks
    if quirks.pin_tries and quirks.pin_tries_pattern:
        asked[quirks.pin_tries] = quirks.pin_tries_pattern
    for query, pattern in asked.items():
        for line in facts.said(query):
            if found := re.search(pattern, line):
                return int(found["tries"]), line
    return None


def _sim(facts: PortFacts, pin_given: bool) -> Iterator[Finding]:
    port, state = facts.port, _sim_state(facts)
    how = f"AT+CPIN? answered {' '.join(facts.said('AT+CPIN?')) or facts.refused('AT+CPIN?')}"
    if state == "NOT INSERTED":
        yield fault(
            "no_sim",
            port,
            "There is no SIM in the stick.",
            how,
            "put a SIM in, contacts towards the stick, and plug the stick in again",
        )
    elif state == "FAILURE":
        yield fault(
            "sim_failure",
            port,
            "The stick cannot read the SIM.",
            how,
            "take the SIM out, wipe its contacts, put it in again; try it in a phone",
        )
    elif state == "SIM PIN" and (tries := _tries(facts)) is not None and tries[0] < PIN_TRIES:
        yield fault(
            "wrong_pin_tried",
            port,
            f"A wrong PIN was tried: {tries[0]} of {PIN_TRIES} tries are left, then the SIM locks itself.",
            f"{how}; {tries[1]}",
            "put the PIN right in pin_file of this lane, or enter the right one in a phone, which gives all tries back; the gateway "
            "offers none while fewer than two are left",
        )
    elif state == "SIM PIN" and not pin_given:
        yield fault(
            "sim_pin",
            port,
            "The SIM wants its PIN, and the settings have none for it.",
            how,
            'write the PIN into a file that only the gateway may read, and pin_file = "FILE" into this lane; or switch the PIN off in a phone',
        )
    elif state in ("SIM PUK", "SIM PUK2"):
        yield fault(
            "sim_puk",
            port,
            "The SIM is locked after three wrong PINs and wants its PUK; after ten wrong PUKs it is dead.",
            how,
            "put the SIM into a phone and enter the PUK from the card it came on (or from the operator) and a new PIN; then correct pin_file",
        )
    elif state is not None and state.startswith(_LOCKS):
        yield fault(
            "network_locked",
            port,
            "The stick is locked to another operator or another SIM, and refuses this one.",
            how,
            "use a SIM of the operator that sold the stick, or have the stick unlocked with its code",
        )
    elif state == "NOT READY":
        yield warning(
            "sim_not_ready", port, "The SIM has not started yet.", how,
            "wait a minute and run `bpjs-sms doctor` again; if it stays so: wipe the SIM's contacts, plug in again",
        )  # fmt: skip


# -- the network --------------------------------------------------------------------------------------------------


def _network(facts: PortFacts) -> Iterator[Finding]:
    port, states, lock = facts.port, facts.registrations, _lock(facts)
    if not states:
        return
    how = ", ".join(f"{name} says {state}" for name, state in states.items())
    strength = (
        "no signal" if facts.signal is None else f"signal {facts.signal} of 31 ({2 * facts.signal - 113} dBm)"
    )
    registered = {name for name, state in states.items() if state in ("home", "roaming")}
    if not registered and lock is not None:
        yield fault(
            "mode_lock",
            port,
            f"The stick is locked to {lock[0]} and finds no network; Indonesia's operators have switched 3G off in most places."
            if lock[0] == "3G"
            else f"The stick is locked to {lock[0]}, and finds no such network.",
            f"{lock[1]}; {how}; {strength}",
            'write network_mode = "auto" into this lane',
        )
    elif "denied" in states.values() and not registered:
        yield fault(
            "registration_denied",
            port,
            "The network refuses this SIM or this stick, although it can be heard.",
            f"{how}; {strength}",
            "try the SIM in a phone. Refused there too: it expired, or is not registered with its owner's NIK and KK (text to 4444, or go to "
            "the operator). Works there: the stick's IMEI is blocked (look it up at imei.kemenperin.go.id): use another stick",
        )
    elif not registered and facts.signal is None:
        yield fault(
            "no_signal",
            port,
            "The stick hears no network at all.",
            f"{how}; {' '.join(facts.said('AT+CSQ')) or 'AT+CSQ has no answer'}",
            "move it to a window or on a long USB cable, screw its antenna on; check on the operator's map that the place is covered",
        )
    elif not registered:
        yield fault(
            "not_registered",
            port,
            "The stick is not in a network yet, although it hears one.",
            f"{how}; {strength}",
            "wait two minutes; then `AT+COPS=0` (choose by itself) in a terminal such as picocom, and try the SIM in a phone",
        )
    else:
        yield from _registered(facts, states, lock, how)


def _registered(
    facts: PortFacts, states: dict[str, str], lock: tuple[str, str] | None, how: str
) -> Iterator[Finding]:
    port, over = facts.port, next(iter(at.bodies("+CGSMS", facts.said("AT+CGSMS?"))), None)
    circuit = states.get("+CREG")
    if states.get("+CEREG") in ("home", "roaming") and circuit not in ("home", "roaming", None):
        yield warning(
            "lte_without_sms",
            port,
            "The stick is in 4G for data only: its SMS may neither go out nor come in.",
            how + (f"; +CGSMS is {over}" if over else ""),
            'write network_mode = "2g" (or "auto") and sms_over = "ps_first" into this lane',
        )
    elif lock is not None and lock[0] == "3G":
        yield warning(
            "mode_lock",
            port,
            "The stick is locked to 3G, which Indonesia's operators are switching off.",
            lock[1],
            'write network_mode = "auto" into this lane',
        )
    if facts.signal is not None and facts.signal < WEAK:
        yield warning(
            "weak_signal",
            port,
            "The signal is weak: sending will fail now and then, and answers come late.",
            f"AT+CSQ answered {facts.signal} of 31, which is {2 * facts.signal - 113} dBm",
            "move the stick to a window, or put it on a longer USB cable, higher up and away from the computer",
        )


def _lock(facts: PortFacts) -> tuple[str, str] | None:
    """The only kind of network that the stick may use, and how that is known."""
    for query in ("AT+WS46?", "AT^SYSCFGEX?", "AT^SYSCFG?", "AT+CNMP?", "AT+ZSNT?"):
        name = query.removeprefix("AT").removesuffix("?")
        for body in at.bodies(name, facts.said(query)):
            value = body.split(",")[0].strip().strip('"')
            if kind := _ONLY.get((query, value)):
                return kind, f"{query} answered {name}:{body}"
    return None


# -- SMS ----------------------------------------------------------------------------------------------------------


def _centre(facts: PortFacts) -> str | None:
    """The service centre's number of +CSCA, also where it is given as UCS2 in hex; None where there is no answer."""
    for body in at.bodies("+CSCA", facts.said("AT+CSCA?")):
        found = re.match(r'"([^"]*)"', body)
        number = found[1] if found else body.split(",")[0].strip()
        if re.fullmatch(r"(?:00[0-9A-Fa-f]{2}){3,}", number):
            number = bytes.fromhex(number).decode("utf-16-be")
        return number
    return None


def _sms(facts: PortFacts) -> Iterator[Finding]:
    port, centre = facts.port, _centre(facts)
    if centre is not None and not centre.strip("+ "):
        yield fault(
            "no_smsc",
            port,
            "The SIM has no service centre's number, without which no SMS can be sent.",
            "AT+CSCA? answered an empty number",
            'ask the operator for the number and set it in a phone (SMS settings), or in a terminal such as picocom: AT+CSCA="+62…"',
        )
    elif centre is not None and facts.home in (None, *_homes(facts)) and not re.match(r"\+?62|0", centre):
        yield warning(
            "foreign_smsc",
            port,
            "The service centre's number is not an Indonesian one: SMS will fail or cost more.",
            f"AT+CSCA? answered {masked(centre)}",
            'set the operator\'s own number in a phone (SMS settings), or in a terminal: AT+CSCA="+62…"',
        )
    for name, code, what, mend in _CLCK:
        for body in at.bodies("+CLCK", facts.said(f'AT+CLCK="{name}",2')):
            if _bars(body):
                yield fault(code, port, what, f'AT+CLCK="{name}",2 answered +CLCK: {body}', mend)
                break
    yield from _storage(facts)


def _homes(facts: PortFacts) -> tuple[str, ...]:
    return (facts.home,) if facts.home and facts.home.startswith("510") else ()


_CLCK = (
    (
        "FD",
        "fixed_dialling",
        "Fixed dialling is on: the SIM sends only to the numbers on its own list.",
        "switch it off in a phone (security, fixed dialling numbers), with PIN2",
    ),
    (
        "AO",
        "sending_barred",
        "The SIM bars everything that goes out, SMS too.",
        'switch call barring off in a phone, or in a terminal: AT+CLCK="AO",0,"0000" (the operator\'s barring password)',
    ),
    (
        "AI",
        "receiving_barred",
        "The SIM bars everything that comes in, SMS too: no answer can arrive.",
        'switch call barring off in a phone, or in a terminal: AT+CLCK="AI",0,"0000"; bar calls only with bar_calls = true of this lane',
    ),
)


def _bars(body: str) -> bool:
    """True for `1` and for `1,class` with SMS among the classes."""
    fields = [field.strip() for field in body.split(",")]
    if fields[0] != "1":
        return False
    return len(fields) < 2 or not fields[1].isdigit() or bool(int(fields[1]) & _SMS_CLASS)


def _storage(facts: PortFacts) -> Iterator[Finding]:
    counts = at.memories(facts.said("AT+CPMS?"))
    if not counts:
        return
    name, used, total = counts[-1]  # mem3 is where received SMS go (3GPP TS 27.005 §3.2.2)
    how = "AT+CPMS? answered " + ", ".join(f"{n} {u} of {t}" for n, u, t in dict.fromkeys(counts))
    if total == 0:
        yield fault(
            "storage_zero",
            facts.port,
            f"The storage {name} for received SMS has no room at all: the SIM is not read yet, or is a data SIM.",
            how,
            "plug the stick in again; if it stays so, use a SIM for phones",
        )
    elif used >= total:
        yield fault(
            "storage_full",
            facts.port,
            f"The storage {name} for received SMS is full: nothing more can come in.",
            how,
            "start the gateway, which stores what lies there and empties it; or delete old texts in a phone",
        )
