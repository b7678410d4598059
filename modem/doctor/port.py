"""What is wrong with a modem and its SIM, from what they answered. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modem import at
from modem.doctor.facts import PortFacts
from modem.doctor.findings import WARNING, Finding, masked
from modem.doctor.texts import Both, decimal, fault, joined, said, warning

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
            code, detail = facts.refusal
            found.append(fault("modem_refuses", facts.port, refusal_code=code, refusal=detail))
    return found


# -- the line -----------------------------------------------------------------------------------------------------


def _line(facts: PortFacts) -> Iterator[Finding]:
    line, port = facts.line, facts.port
    if line is None or line.answers_at == line.baud:
        return
    if line.answers_at is not None:
        yield fault("wrong_baud", port, speed=line.answers_at, baud=line.baud)
    elif line.noise == "ff":
        yield fault("line_stuck", port)
    elif line.noise is not None:
        yield fault("line_noise", port)
    else:
        yield fault("no_answer", port)


_OPENING = {
    "port_busy": "port_busy",
    "port_denied": "no_permission.refused",
    "port_missing": "port_missing.refused",
    "port_lost": "port_lost",
    "not_a_modem": "no_answer.no_modem",
    "out_of_step": "no_answer.stopped",
    "no_storage": "no_storage",
}
"""What a port's own refusal is called here."""


def _opening(facts: PortFacts) -> Iterator[Finding]:
    if facts.refusal is not None and facts.refusal[0] in _OPENING:
        code, detail = facts.refusal
        text = _OPENING[code]
        if text == "port_missing.refused" and "://" in facts.port:
            text = "port_missing.address"
        yield fault(text, facts.port, port=facts.port, refusal=detail)


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
        yield fault("imei_zero", port, imei=imei)
    elif imei is not None and len(imei) == 15 and not check_digit_fits(imei):
        yield warning("imei_check_digit", port, imei=masked(imei))
    modes = at.values_offered("+CMGF", facts.said("AT+CMGF=?"))
    if modes and 0 not in modes[0]:
        yield fault("text_mode_only", port, answer=" ".join(facts.said("AT+CMGF=?")))
    if facts.refusal is not None and facts.refusal[0] == "no_indications":
        yield fault("cnmi_refused.none_kept", port, refusal=facts.refusal[1])
    elif facts.refused("AT+CNMI=?") and facts.refused("AT+CNMI?"):
        yield warning("cnmi_refused", port, answer=facts.refused("AT+CNMI=?"))
    elif facts.opened and any(
        body.split(",")[1:2] == ["0"] for body in at.bodies("+CNMI", facts.said("AT+CNMI?"))
    ):
        yield warning("cnmi_refused.forgotten", port, answer=" ".join(facts.said("AT+CNMI?")))
    silent = facts.silent
    slowest = facts.slowest
    if silent:
        yield warning("slow.silent", port, queries=joined(silent))
    elif slowest is not None and slowest[1] > SLOW:
        yield warning("slow", port, query=slowest[0], seconds=decimal(slowest[1]))


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
    answer = " ".join(facts.said("AT+CPIN?")) or facts.refused("AT+CPIN?")
    if state == "NOT INSERTED":
        yield fault("no_sim", port, answer=answer)
    elif state == "FAILURE":
        yield fault("sim_failure", port, answer=answer)
    elif state == "SIM PIN" and (tries := _tries(facts)) is not None and tries[0] < PIN_TRIES:
        yield fault("wrong_pin_tried", port, left=tries[0], tries=PIN_TRIES, answer=answer, line=tries[1])
    elif state == "SIM PIN" and not pin_given:
        yield fault("sim_pin", port, answer=answer)
    elif state in ("SIM PUK", "SIM PUK2"):
        yield fault("sim_puk", port, answer=answer)
    elif state is not None and state.startswith(_LOCKS):
        yield fault("network_locked", port, answer=answer)
    elif state == "NOT READY":
        yield warning("sim_not_ready", port, answer=answer)


# -- the network --------------------------------------------------------------------------------------------------


def _network(facts: PortFacts) -> Iterator[Finding]:
    port, states, lock = facts.port, facts.registrations, _lock(facts)
    if not states:
        return
    how = joined(
        [said("words.says", name=n, state=said(f"registration.{state}")) for n, state in states.items()]
    )
    rssi = facts.signal
    strength = said("words.no_signal") if rssi is None else said("words.signal", rssi=rssi, dbm=_dbm(rssi))
    registered = {name for name, state in states.items() if state in ("home", "roaming")}
    if not registered and lock is not None:
        yield fault(
            "mode_lock.no_3g" if lock[0] == "3G" else "mode_lock",
            port,
            kind=lock[0],
            lock=lock[1],
            states=how,
            strength=strength,
        )
    elif "denied" in states.values() and not registered:
        yield fault("registration_denied", port, states=how, strength=strength)
    elif not registered and rssi is None:
        yield fault(
            "no_signal", port, states=how, answer=" ".join(facts.said("AT+CSQ")) or said("words.no_csq")
        )
    elif not registered:
        yield fault("not_registered", port, states=how, strength=strength)
    else:
        yield from _registered(facts, states, lock, how)


def _registered(
    facts: PortFacts, states: dict[str, str], lock: tuple[str, Both] | None, how: Both
) -> Iterator[Finding]:
    port, over = facts.port, next(iter(at.bodies("+CGSMS", facts.said("AT+CGSMS?"))), None)
    circuit = states.get("+CREG")
    if states.get("+CEREG") in ("home", "roaming") and circuit not in ("home", "roaming", None):
        yield warning(
            "lte_without_sms", port, states=how, over=said("words.sms_over", value=over) if over else ""
        )
    elif lock is not None and lock[0] == "3G":
        yield warning("mode_lock.still_3g", port, lock=lock[1])
    if facts.signal is not None and facts.signal < WEAK:
        yield warning("weak_signal", port, rssi=facts.signal, dbm=_dbm(facts.signal))


def _dbm(rssi: int) -> int:
    return 2 * rssi - 113  # 3GPP TS 27.007 §8.5


def _lock(facts: PortFacts) -> tuple[str, Both] | None:
    """The only kind of network that the stick may use, and how that is known."""
    for query in ("AT+WS46?", "AT^SYSCFGEX?", "AT^SYSCFG?", "AT+CNMP?", "AT+ZSNT?"):
        name = query.removeprefix("AT").removesuffix("?")
        for body in at.bodies(name, facts.said(query)):
            value = body.split(",")[0].strip().strip('"')
            if kind := _ONLY.get((query, value)):
                return kind, said("words.lock", query=query, answer=f"{name}:{body}")
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
        yield fault("no_smsc", port)
    elif centre is not None and facts.home in (None, *_homes(facts)) and not re.match(r"\+?62|0", centre):
        yield warning("foreign_smsc", port, number=masked(centre))
    for name, code in _CLCK.items():
        for body in at.bodies("+CLCK", facts.said(f'AT+CLCK="{name}",2')):
            if _bars(body):
                yield fault(code, port, answer=f"+CLCK: {body}")
                break
    yield from _storage(facts)


def _homes(facts: PortFacts) -> tuple[str, ...]:
    return (facts.home,) if facts.home and facts.home.startswith("510") else ()


_CLCK = {"FD": "fixed_dialling", "AO": "sending_barred", "AI": "receiving_barred"}
"""<fac> of +CLCK (3GPP TS 27.007 §7.4), and what is wrong where it is on."""


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
    rooms = [said("words.storage", name=n, used=u, total=t) for n, u, t in dict.fromkeys(counts)]
    if total == 0:
        yield fault("storage_zero", facts.port, storage=name, counts=joined(rooms))
    elif used >= total:
        yield fault("storage_full", facts.port, storage=name, counts=joined(rooms))
