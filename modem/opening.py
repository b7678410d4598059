"""The start of a session: a modem that sleeps, boots or is half way through a PDU is brought in step, its SIM unlocked and named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from modem import at, verdicts
from modem.port import Identity, ModemError, ModemLost, PortSettings, SimLocked
from modem.quirks import Quirks, quirks_for
from modem.session import BUSY_PAUSES, Session, Silence
from modem.transport import ESC

_PIN_TIMES = (
    1.5  # the usual patience, 15 s: 3GPP TS 27.007 gives no limit, SIMs take up to 10 s to start after a PIN
)
_WAKE_SECONDS = 0.5  # one try of AT; a modem that is awake answers within 0.1 s
_WORDS = "ATQ0V1"  # ITU-T V.250 §6.2.5, §6.2.6: results are said, in words
_GUARD_SECONDS = 1.1  # of silence around +++: register S12 of the makers' manuals, 1 s when nobody set it
_NO_SIM = ("NOT INSERTED", "SIM NOT INSERTED", "NO SIM", "SIM REMOVED", "SIM ABSENT")
_READY = ("READY", "SIM PIN2", "SIM PUK2")
"""The second PIN guards fixed dialling, and no SMS (3GPP TS 27.007 §8.3)."""
_LOCKED = (
    *("SIM PIN", "SIM PUK", "PH-SIM PIN", "PH-FSIM PIN", "PH-FSIM PUK", "PH-NET PIN", "PH-NET PUK"),
    *("PH-NETSUB PIN", "PH-NETSUB PUK", "PH-SP PIN", "PH-SP PUK", "PH-CORP PIN", "PH-CORP PUK"),
)  # 3GPP TS 27.007 §8.3
_STARTING = ("NOT READY", "SIM CRASH")  # SIMCom's A76 also says CRASH of one that it starts anew
_SIM_FAILS_SECONDS = 5.0  # SIMCom's A76 calls one that is starting a failure, for a moment
_SIM_LOOKS = 4  # at a SIM that tells another number each time
_SIM_PAUSE = 1.0  # seconds between two looks at a SIM that is not ready yet
_LAST_TRIES = 2  # the last try is left to a person: after it the SIM wants its PUK
_PIN_TRIES = 'AT+CPINR="SIM PIN"'  # 3GPP TS 27.007 §8.65
_SMS_OVER = {"ps": 0, "cs": 1, "ps_first": 2, "cs_first": 3}  # 3GPP TS 27.007 §10.1.21
_ICCID_QUERIES = (
    "AT+CCID",
    "AT+ICCID",
    "AT+CICCID",
    "AT^ICCID?",
    "AT+QCCID",
    "AT#CCID",
    "AT+CRSM=176,12258,0,0,10",  # EF_ICCID, 3GPP TS 31.102 §4.2.1
)


def wake(session: Session, settings: PortSettings) -> None:
    """ESC and AT until OK, then in step by a marked query, whatever an earlier session left behind.

    Also results switched off or numeric, an open data connection and another end of line are put right (ITU-T V.250 §6.2).
    A silent port is given `wake_timeout`, one that says what only a starting modem says `boot_timeout`. Raises ModemError `not_a_modem`.
    """
    tries = 0
    while True:
        # ESC ends a half-sent PDU; where there is none, some take the command behind it for rubbish.
        even = tries % 2 == 0
        if even:
            session.put(ESC)
        if _is_ok(session, "AT" if even else _WORDS):
            break
        tries += 1
        patience = settings.boot_timeout if session.understood else settings.wake_timeout
        if tries >= max(1, round(patience.total_seconds() / _WAKE_SECONDS)):
            if settings.wake_timeout.total_seconds() >= 2 * _GUARD_SECONDS and _called_back(session):
                break
            raise ModemError(
                "not_a_modem",
                f"nothing answers AT on {settings.url}: wrong port of several, wrong baud rate, or not a modem; "
                "try another port of this stick",
                retryable=True,
            )
    session.resync()
    session.attempt("ATE0")
    session.attempt("AT+CMEE=1")
    # In UCS2, which other programs leave behind, names of storages and operators are hex.
    session.attempt('AT+CSCS="GSM"')


def _is_ok(session: Session, command: str, end: str = "\r") -> bool:
    try:
        if session.ask(command, _WAKE_SECONDS, end=end)[-1] == "OK":
            return True
    except Silence:
        return False
    session.pause(_WAKE_SECONDS)
    return False


def _called_back(session: Session) -> bool:
    """A modem in a data connection, or with another end of line than CR, is made to take commands again."""
    session.pause(_GUARD_SECONDS)
    session.put("+++")
    session.pause(_GUARD_SECONDS)
    # The LF in front ends what such a modem takes for one long line.
    return _is_ok(session, _WORDS) or _is_ok(session, f"\n{_WORDS}S3=13S4=10", "\n")


def habits(session: Session) -> tuple[str | None, str | None, Quirks]:
    """Maker and model, and what is known of them; their own commands and the wanted modes are set, a refusal is no fault."""
    maker, model = at.plain(session.attempt("AT+CGMI")), at.plain(session.attempt("AT+CGMM"))
    quirks = quirks_for(maker, model)
    session.expect_unasked(quirks.urcs)
    for command in quirks.setup:
        session.attempt(command)
    return maker, model, quirks


def choose_network(session: Session, settings: PortSettings, quirks: Quirks) -> None:
    """Network mode and the way of SMS, as far as they are set and the modem takes them."""
    mode = quirks.network_modes.get(settings.network_mode or "")
    if mode is not None:
        session.attempt(mode)
    if settings.sms_over is not None:
        session.attempt(f"AT+CGSMS={_SMS_OVER[settings.sms_over]}")


# The SIM


def unlock(session: Session, settings: PortSettings, quirks: Quirks) -> None:
    """Wait for the SIM, and give it its PIN where it wants one and may still be given one. Raises SimLocked or ModemError."""
    state = _settled_pin_state(session, settings.boot_timeout)
    if state == "SIM PIN":
        _offer_pin(session, settings, quirks)
    elif state is not None:
        raise _locked(state)


def _offer_pin(session: Session, settings: PortSettings, quirks: Quirks) -> None:
    pin = settings.pin
    if pin is None or not re.fullmatch(r"\d{4,8}", pin):
        raise SimLocked(
            "sim_pin_required", "the SIM wants its PIN (4 to 8 digits): set pin_file for this lane"
        )
    if settings.may_offer_pin is False:
        raise _refused_before()
    tries = _tries_left(session, quirks)
    if tries is not None and tries < _LAST_TRIES:
        raise SimLocked(
            "sim_pin_too_few_tries",
            f"the SIM allows its PIN {tries} time more: the gateway leaves that to you; enter the PIN in a phone, or switch it off there",
        )
    if callable(settings.may_offer_pin):
        iccid, _ = _iccid(session)
        session.sim_failed = False  # a locked SIM may refuse to tell
        if not settings.may_offer_pin(iccid):
            raise _refused_before()
    try:
        try:
            session.command(f'AT+CPIN="{pin}"', _PIN_TIMES * session.answer_seconds)
            refusal = None
        except ModemLost:
            raise
        except ModemError as no:  # an answer that was lost says nothing of the PIN: the SIM does
            refusal = no
        state = _settled_pin_state(session, settings.boot_timeout)
    except ModemError as failure:  # also a session lost now: the try may have been used
        raise SimLocked(
            "sim_pin_refused", f"the SIM did not take the PIN ({failure.detail})", pin_was_offered=True
        ) from failure
    if state is None:
        return
    if refusal is not None:
        raise SimLocked(
            "sim_pin_refused", f"the SIM did not take the PIN ({refusal.detail})", pin_was_offered=True
        ) from refusal
    raise SimLocked(
        "sim_locked",
        f"after its PIN the SIM asks for {state}: use a phone to unlock it",
        pin_was_offered=True,
    )


def _refused_before() -> SimLocked:
    return SimLocked(
        "sim_pin_refused",
        "the SIM refused this PIN before: correct pin_file; it is not offered twice, three wrong tries lock the SIM",
    )


def _tries_left(session: Session, quirks: Quirks) -> int | None:
    """By the maker's query, else by the standard's; None where the modem knows neither."""
    for query, pattern in ((quirks.pin_tries, quirks.pin_tries_pattern), (_PIN_TRIES, None)):
        tries = at.pin_tries(session.attempt(query), pattern) if query else None
        if tries is not None:
            return tries
    return None


def _locked(state: str) -> SimLocked:
    if state == "SIM PUK":
        return SimLocked(verdicts.CMS[316].code, verdicts.CMS[316].detail)
    if state.startswith("PH-"):
        return SimLocked(verdicts.NETWORK_LOCKED.code, f"{verdicts.NETWORK_LOCKED.detail} ({state})")
    return SimLocked("sim_locked", f"the SIM asks for {state}: use a phone to unlock it")


def _settled_pin_state(session: Session, patience: timedelta) -> str | None:
    """What the SIM wants, None for nothing, once it has started. Raises ModemError for one that is not there, or not ready in time."""
    waited, told = 0.0, ""
    while True:
        try:
            state = _pin_state(session)
        except ModemError as no:
            failing = no.code == verdicts.CMS[313].code and waited < _SIM_FAILS_SECONDS
            if no.code not in verdicts.BUSY and not failing:
                raise
            waited += 0 if failing else sum(BUSY_PAUSES)
        else:
            if state is None or state in _READY:
                return None
            if state in _NO_SIM:
                raise ModemError(verdicts.CMS[310].code, verdicts.CMS[310].detail, blame="sim")
            if state in _LOCKED or state == told:
                return state
            if state not in _STARTING:
                # No word of the standard is believed when told twice: a line may lose a character.
                told = state
        if waited >= patience.total_seconds():
            raise ModemError(
                "sim_not_ready",
                "the SIM does not get ready: take it out, clean it, put it in again",
                blame="sim",
                retryable=True,
            )
        session.pause(_SIM_PAUSE)
        session.check()
        waited += _SIM_PAUSE


def _pin_state(session: Session) -> str | None:
    """What AT+CPIN? says; None where the modem knows no such command."""
    try:
        return at.pin_state(session.command("AT+CPIN?", _PIN_TIMES * session.answer_seconds))
    except ModemLost:
        raise
    except ModemError as no:
        state = _STATE_OF.get(no.code)
        if state is None and (no.blame == "sim" or no.code in verdicts.BUSY):
            raise
        return state


_STATE_OF = {
    verdicts.CMS[311].code: "SIM PIN",
    verdicts.CMS[312].code: "PH-SIM PIN",
    verdicts.CMS[316].code: "SIM PUK",
    verdicts.CMS[317].code: "SIM PIN2",
    verdicts.CMS[318].code: "SIM PUK2",
    verdicts.NETWORK_LOCKED.code: "PH-NET PIN",
}


# Who is on the line


@dataclass(frozen=True, slots=True)
class Sim:
    """The numbers that name a SIM, and the query that told its ICCID."""

    iccid: str | None
    imsi: str | None
    iccid_by: str | None


def identify(
    session: Session, maker: str | None, model: str | None, patience: timedelta
) -> tuple[Identity, Sim]:
    """Stick and SIM by their numbers, each from the first query that a modem answers; a SIM that tells none yet is waited for."""
    stop_pacing(session)
    sim, waited = _sim(session), 0.0
    while sim.iccid is None and sim.imsi is None and waited < patience.total_seconds():
        session.pause(_SIM_PAUSE)
        session.check()
        waited += _SIM_PAUSE
        sim = _sim(session)
    # A digit that was lost on the line would make it another SIM: told twice alike, it is believed.
    for _ in range(_SIM_LOOKS):
        before, sim = sim, _sim_again(session, sim)
        if before == sim:
            break
    identity = Identity(
        imei=at.imei(session.attempt("AT+CGSN")),
        imsi=sim.imsi,
        iccid=sim.iccid,
        maker=maker,
        model=model,
        firmware=at.plain(session.attempt("AT+CGMR")),
        own_number=at.own_number(session.attempt("AT+CNUM")),
    )
    return identity, sim


def stop_pacing(session: Session) -> None:
    """No flow control by characters, which spoil numbers and PDUs (ITU-T V.250 §6.2.12), where the modem uses it."""
    if session.take_paced():
        session.attempt("AT+IFC=2,2" if session.flow_control else "AT+IFC=0,0")


def _sim(session: Session) -> Sim:
    iccid, iccid_by = _iccid(session)
    return Sim(iccid, at.imsi(session.attempt("AT+CIMI")), iccid_by)


def _sim_again(session: Session, sim: Sim) -> Sim:
    """The same by the queries that told it; what they do not tell now is believed."""
    iccid = at.iccid(session.attempt(sim.iccid_by)) if sim.iccid_by else None
    imsi = at.imsi(session.attempt("AT+CIMI")) if sim.imsi else None
    return Sim(iccid or sim.iccid, imsi or sim.imsi, sim.iccid_by)


def _iccid(session: Session) -> tuple[str | None, str | None]:
    """The ICCID, and the query that told it."""
    for query in _ICCID_QUERIES:
        if iccid := at.iccid(session.attempt(query)):
            return iccid, query
    return None, None


def check_sim(session: Session, sim: Sim, *, first: bool = False) -> None:
    """Read ICCID and IMSI again. A SIM that is another one, or gone, ends the session: ModemLost.

    first: only the first of them that is known, and an error of the SIM is left to the next look at both.
    """
    known_by = [
        (query, known, parse)
        for query, known, parse in ((sim.iccid_by, sim.iccid, at.iccid), ("AT+CIMI", sim.imsi, at.imsi))
        if query is not None and known is not None
    ]
    for query, known, parse in known_by[:1] if first else known_by:
        try:
            found = parse(session.command(query))
        except ModemLost:
            raise
        except ModemError as no:
            if no.blame == "sim" and no.code not in verdicts.BUSY and not first:
                session.end(no.code, no.detail)
                session.check()
            continue
        if found is None or found == known:
            continue
        if parse(session.attempt(query)) == found:  # told twice; else a digit may have been lost on the line
            session.end("sim_changed", "another SIM is in the modem now: it is opened again")
            session.check()
