"""SerialModem: the Modem protocol over python-gsmmodem-new, with our transport beneath it and our own SMS paths."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from gsmmodem.exceptions import TimeoutException
from gsmmodem.modem import GsmModem

from modem import at
from modem.pdu import Submit
from modem.port import (
    Identity,
    MaybeSubmitted,
    ModemError,
    ModemLost,
    NotSubmitted,
    Observer,
    PortSettings,
    SimLocked,
    Status,
    Stored,
    Usage,
)
from modem.transport import CTRL_Z, ESC, PortDied, Transport

_LIST_SECONDS = 60.0  # a full SIM of 50 slots takes some sticks half a minute
_PIN_SECONDS = 15.0  # 3GPP TS 27.007 gives no limit; SIMs take up to 10 s to start after a PIN
_WAKE_SECONDS = 0.5  # one try of AT; a modem that is awake answers within 0.1 s
_BUSY_PAUSES = (
    0.2,
    0.5,
    1.0,
    2.0,
    3.0,
)  # seconds, before each repetition of a command that the SIM was too busy for
_STORAGES = ("SM", "ME", "SR")  # 3GPP TS 27.005 §3.1; MT is SM and ME together
_INDICATIONS = (
    (2, 1, 0, 2),
    (2, 1, 0, 1),
    (2, 1, 0, 0),
    (1, 1, 0, 2),
    (1, 1, 0, 1),
    (1, 1, 0, 0),
)  # §3.4.1, best first
_DIRECTLY = (
    (2, 2, 0, 1),
    (2, 2, 0, 0),
    (1, 2, 0, 0),
)  # the whole SMS in the URC: only where it is acknowledged, so that the network keeps it until then
_REGISTRATIONS_BEST_FIRST = ("home", "roaming", "searching", "denied", "idle", "unknown")

_silent = logging.Logger("modem.silent", logging.CRITICAL + 1)  # the library would log PINs and texts


class _Session(GsmModem, Transport):  # type: ignore[misc]
    """The library's command core over our transport; what nobody asked for goes to one function."""

    log = _silent

    def __init__(self, settings: PortSettings, on_urc: Callable[[list[str]], None]) -> None:
        self._on_urc = on_urc
        self._quiet: bool | None = None  # None: ATE0 was not yet said
        super().__init__(
            settings.url,
            settings.baud,
            urcs=settings.urcs,
            drain_seconds=settings.drain_timeout.total_seconds(),
        )

    def _handleModemNotification(self, lines: list[str]) -> None:
        self._on_urc(lines)

    def ask(self, text: str, timeout: float, *, end: str = "\r", prompt: bool = False) -> list[str]:
        """The lines of the answer, its result (or PROMPT) last. Raises TimeoutException or PortDied."""
        lines: list[str] = GsmModem.write(
            self,
            text,
            timeout=timeout,
            parseError=False,  # the library repeats errors 14 and 515 for ever, and sleeps
            writeTerm=end,
            expectedResponseTermSeq=">" if prompt else None,
        )
        if text == "ATE0":
            self._quiet = False
        elif self._quiet and text in lines:
            self.restarted()
            self.check()
        elif self._quiet is False and end and not prompt:
            self._quiet = not any(line.upper().startswith("AT") for line in lines)
        return lines

    def restarted(self) -> None:
        """It echoes again or says that it has started: PDU mode, storages and indications are not ours any more."""
        self._die("modem_restarted", "the modem started anew by itself: it is opened again")

    @property
    def set_up(self) -> bool:
        return self._quiet is not None

    def put(self, text: str) -> None:
        GsmModem.write(self, text, waitForResponse=False, writeTerm="")


class SerialModem:
    """One session on one control port; the contract is `modem.port.Modem`. A lost session is replaced by a new object."""

    def __init__(self, settings: PortSettings, observer: Observer | None = None) -> None:
        self._settings = settings
        self._tell: Observer = observer or (lambda step, port: None)
        self._session = _Session(settings, self._on_urc)
        self._memories: list[str] = []
        self._storages: tuple[str, ...] = ()
        self._acknowledges = False
        self._unknown: set[str] = set()
        # Below: written by the reader, guarded by the session's condition.
        self._hints: set[tuple[str, int]] = set()
        self._direct: list[Stored] = []
        self._interrupted = False
        self._closed = threading.Event()

    # opening

    def open(self) -> Identity:
        try:
            Transport.connect(self._session)
            self._wake()
            self._unlock()
            identity = self._identify()
            self._receive()
        except BaseException:
            self.close()
            raise
        return identity

    def close(self) -> None:
        self._closed.set()
        self._session.close()

    def _wake(self) -> None:
        """ESC and AT until OK, then in step by a marked query, whatever an earlier session left behind."""
        tries = max(1, round(self._settings.wake_timeout.total_seconds() / _WAKE_SECONDS))
        for _ in range(tries):
            self._session.put(ESC)
            with suppress(TimeoutException):
                self._session.ask("AT", _WAKE_SECONDS)
                break
        else:
            raise ModemError(
                "not_a_modem",
                f"nothing answers AT on {self._settings.url}: wrong port of several, wrong baud rate, or not a modem; "
                "try another port of this stick",
                retryable=True,
            )
        self._session.resync()
        self._try("ATE0")
        self._try("AT+CMEE=1")

    def _unlock(self) -> None:
        state = self._pin_state()
        if state == "SIM PIN":
            pin = self._settings.pin
            if pin is None or not re.fullmatch(r"\d{4,8}", pin):
                raise SimLocked(
                    "sim_pin_required", "the SIM wants its PIN (4 to 8 digits): set pin_file for this lane"
                )
            if not self._settings.may_offer_pin:
                raise SimLocked(
                    "sim_pin_refused",
                    "the SIM refused this PIN before: correct pin_file; it is not offered twice, three wrong tries lock the SIM",
                )
            try:
                self._command(f'AT+CPIN="{pin}"', _PIN_SECONDS)
                state = self._pin_state()
            except ModemError as refusal:  # also a session lost now: the try may have been used
                raise SimLocked(
                    "sim_pin_refused",
                    f"the SIM did not take the PIN ({refusal.detail})",
                    pin_was_offered=True,
                ) from refusal
            if state not in ("READY", None):
                raise SimLocked(
                    "sim_locked",
                    f"after its PIN the SIM asks for {state}: use a phone to unlock it",
                    pin_was_offered=True,
                )
        elif state == "SIM PUK":
            raise SimLocked(at.CMS[316].code, at.CMS[316].detail)
        elif state not in ("READY", None):
            raise SimLocked("sim_locked", f"the SIM asks for {state}: use a phone to unlock it")

    def _pin_state(self) -> str | None:
        """What AT+CPIN? says; None where the modem knows no such command."""
        try:
            return at.pin_state(self._command("AT+CPIN?", _PIN_SECONDS))
        except ModemLost:
            raise
        except ModemError as no:
            if no.code in (at.CMS[311].code, at.CMS[316].code):
                return "SIM PIN" if no.code == at.CMS[311].code else "SIM PUK"
            if no.blame == "sim":
                raise
            return None

    def _identify(self) -> Identity:
        iccid = None
        for query in (
            "AT+CCID",
            "AT+ICCID",
            "AT^ICCID?",
            "AT+QCCID",
            "AT+CRSM=176,12258,0,0,10",
        ):  # EF_ICCID, 3GPP TS 31.102 §4.2.1
            iccid = at.iccid(self._try(query))
            if iccid:
                break
        return Identity(
            imei=at.imei(self._try("AT+CGSN")),
            imsi=at.imsi(self._try("AT+CIMI")),
            iccid=iccid,
            maker=at.plain(self._try("AT+CGMI")),
            model=at.plain(self._try("AT+CGMM")),
            firmware=at.plain(self._try("AT+CGMR")),
            own_number=at.own_number(self._try("AT+CNUM")),
        )

    def _receive(self) -> None:
        """PDU mode, storages and indications, each chosen from what the modem offers."""
        self._command("AT+CMGF=0")
        self._try("AT+COPS=3,0")
        if not self._try("AT+CSMS=0"):
            self._acknowledges = any(
                body.split(",")[0].strip() == "1" for body in at.bodies("+CSMS", self._try("AT+CSMS?"))
            )
        self._choose_storages(at.memories_offered(self._try("AT+CPMS=?")) or self._storages_that_it_takes())
        offered = at.values_offered("+CNMI", self._try("AT+CNMI=?"))
        if self._indicate(_INDICATIONS, offered) or self._try("AT+CNMI=2,1"):
            return
        self._acknowledges = self._acknowledges or bool(self._try("AT+CSMS=1"))
        if not (self._acknowledges and self._indicate(_DIRECTLY, offered)):
            raise ModemError(
                "no_indications", "the modem cannot say that an SMS came (AT+CNMI): use another stick"
            )

    def _indicate(self, choices: Sequence[tuple[int, ...]], offered: Sequence[frozenset[int]]) -> bool:
        """Set the first of these that the modem offers and takes."""
        for wanted in choices:
            if wanted[3] == 2 and "SR" not in self._storages:
                continue
            if offered and not all(value in values for value, values in zip(wanted, offered, strict=False)):
                continue
            if self._try("AT+CNMI=" + ",".join(map(str, wanted))):
                return True
        return False

    def _storages_that_it_takes(self) -> list[tuple[str, ...]]:
        """For a modem that does not tell which storages it has."""
        taken = tuple(name for name in _STORAGES if self._try(f'AT+CPMS="{name}"'))
        return [taken, taken, taken]

    def _choose_storages(self, offered: list[tuple[str, ...]]) -> None:
        if not offered or not offered[0]:
            raise ModemError(
                "no_storage", "the modem keeps no SMS that can be read (AT+CPMS): use another stick"
            )
        first, second, third = (*offered, offered[-1], offered[-1])[:3]
        received = next((name for name in (*_STORAGES[:2], *third) if name in third), first[0])
        # mem2 is not used: it holds the other storage, so that one query counts both.
        other = next((name for name in _STORAGES[:2] if name in second and name != received), received)
        self._storages = tuple(name for name in _STORAGES if name in first) or (received,)
        read = received if received in first else self._storages[0]
        for choice in ([read, other, received], [read, received, received], [read]):
            if self._try("AT+CPMS=" + ",".join(f'"{name}"' for name in choice)):
                self._memories = choice
                return
        raise ModemError("no_storage", "the modem refuses every storage for SMS (AT+CPMS): use another stick")

    # commands

    def _command(self, command: str, timeout: float | None = None) -> list[str]:
        """One command; the lines of its answer, with the OK. Raises ModemError for a refusal, ModemLost when out of step."""
        seconds = timeout or self._settings.answer_timeout.total_seconds()
        pauses = iter(_BUSY_PAUSES)
        while True:
            try:
                lines = self._session.ask(command, seconds)
            except TimeoutException as silence:
                self._session.resync()
                raise ModemError(
                    "no_answer", f"the modem did not answer {_name(command)} in time", retryable=True
                ) from silence
            verdict = at.verdict(lines[-1])
            if verdict is None:
                return lines
            pause = next(pauses, None) if verdict.code in at.BUSY else None
            if pause is None:
                raise ModemError(
                    verdict.code, verdict.detail, blame=verdict.blame, retryable=verdict.retryable
                )
            self._closed.wait(pause)

    def _try(self, command: str) -> list[str]:
        """The answer, or nothing where the modem refuses the command."""
        try:
            return self._command(command)
        except ModemLost:
            raise
        except ModemError:
            return []

    def _query(self, command: str) -> list[str]:
        """Like `_try`, and a command that the modem does not know is not asked again."""
        if command in self._unknown:
            return []
        try:
            return self._command(command)
        except ModemLost:
            raise
        except ModemError as no:
            if no.code in at.UNKNOWN_COMMAND:
                self._unknown.add(command)
            return []

    # state

    def status(self) -> Status:
        said = {
            registration
            for command in ("AT+CREG?", "AT+CGREG?", "AT+CEREG?")
            for line in self._query(command)
            if (registration := at.registration(line)) is not None
        }
        best = next((name for name in _REGISTRATIONS_BEST_FIRST if name in said), "unknown")
        return Status(best, at.signal(self._query("AT+CSQ")), at.operator(self._query("AT+COPS?")))

    def usage(self) -> list[Usage]:
        missing = [name for name in self._storages if name not in self._memories]
        if missing:
            self._select(missing[0])
        counts = {name: (used, total) for name, used, total in at.memories(self._command("AT+CPMS?"))}
        return [Usage(name, *counts[name]) for name in self._storages if name in counts]

    # sending

    def submit(self, parts: Sequence[Submit], go: Callable[[], bool]) -> list[int]:
        references: list[int] = []
        with self._session._txLock:
            for part in parts:
                try:
                    references.append(self._submit_one(part, go if not references else lambda: True))
                except NotSubmitted as refusal:
                    if not references:
                        raise
                    raise MaybeSubmitted(
                        refusal.code,
                        f"part {len(references) + 1} of {len(parts)} was refused after the others went: {refusal.detail}",
                        blame=refusal.blame,
                    ) from refusal
        return references

    def _submit_one(self, part: Submit, go: Callable[[], bool]) -> int:
        with _before_ctrl_z():
            self._offer(part)
        if not self._asked(go):
            with suppress(ModemLost):
                self._session.resync()  # ESC
            raise NotSubmitted(
                "stood_down", "it was called off right before it went out", blame="gateway", retryable=True
            )
        with _before_ctrl_z():
            self._session.check()
        self._tell("ctrl-z", self._settings.url)
        try:
            lines = self._session.ask(CTRL_Z, self._settings.cmgs_timeout.total_seconds(), end="")
        except TimeoutException as silence:
            lines = silence.data or []
            with suppress(ModemLost):
                self._session.resync()
            code, why = "no_verdict", "the modem did not say whether the SMS went out"
        except PortDied as death:
            lines = list(death.lines)
            code, why = death.code, death.detail
        else:
            code, why = "no_reference", f"the modem answered {lines[-1]} without a reference"
        for line in lines:
            reference = at.message_reference(line)
            if reference is not None:
                return reference
        verdict = at.verdict(lines[-1]) if lines else None
        if verdict is None:
            raise MaybeSubmitted(code, why)
        if verdict.code in at.IN_DOUBT or verdict.code == "error":
            raise MaybeSubmitted(verdict.code, verdict.detail, blame=verdict.blame)
        raise NotSubmitted(verdict.code, verdict.detail, blame=verdict.blame, retryable=verdict.retryable)

    def _offer(self, part: Submit) -> None:
        """AT+CMGS, the prompt, the PDU; Ctrl-Z is not yet written."""
        self._tell("cmgs", self._settings.url)
        try:
            lines = self._session.ask(
                f"AT+CMGS={part.length}", self._settings.prompt_timeout.total_seconds(), prompt=True
            )
        except TimeoutException as silence:
            self._session.resync()
            raise NotSubmitted(
                "no_prompt", "the modem gave no prompt for the SMS", retryable=True
            ) from silence
        if lines[-1] != at.PROMPT:
            verdict = at.verdict(lines[-1]) or at.Verdict(
                "no_prompt", "modem", True, "the modem gave no prompt for the SMS"
            )
            raise NotSubmitted(verdict.code, verdict.detail, blame=verdict.blame, retryable=verdict.retryable)
        self._tell("pdu", self._settings.url)
        self._session.put(part.pdu)

    def _asked(self, go: Callable[[], bool]) -> bool:
        try:
            return go()
        except BaseException:
            with suppress(ModemLost):
                self._session.resync()
            raise

    def late_references(self) -> list[int]:
        with self._session.changed:
            late, self._session.late_references = self._session.late_references, []
            return late

    # receiving

    def inbox(self, storage: str | None = None) -> list[Stored]:
        found = []
        for name in self._storages if storage is None else (storage,):
            if not name.startswith("+"):
                found += self._list(name)
        with self._session.changed:
            direct = list(self._direct)
        return found + [stored for stored in direct if storage in (None, stored.storage)]

    def _list(self, storage: str) -> list[Stored]:
        self._select(storage)
        try:
            entries = at.listed(self._command("AT+CMGL=4", _LIST_SECONDS))
        except ModemLost:
            raise
        except ModemError:
            return self._list_one_by_one(storage)
        found = []
        for entry in entries:
            stored = Stored(storage, entry.index, entry.pdu, entry.stat)
            # A PDU that noise fell into is read once more; what stays odd is kept as it is.
            found.append(stored if entry.whole else self.read(storage, entry.index) or stored)
        return found

    def _list_one_by_one(self, storage: str) -> list[Stored]:
        used, total = {
            name: (used, total) for name, used, total in at.memories(self._command("AT+CPMS?"))
        }.get(storage, (0, 0))
        found: list[Stored] = []
        for index in range(total + 1):  # some count from 0, others from 1
            if len(found) == used:
                break
            stored = self.read(storage, index)
            if stored is not None:
                found.append(stored)
        return found

    def read(self, storage: str, index: int) -> Stored | None:
        self._select(storage)
        try:
            entry = at.read(index, self._command(f"AT+CMGR={index}"))
        except ModemError as no:
            # Old firmware has no other word for an empty slot than ERROR.
            if no.code in at.EMPTY_SLOT or no.code == "error":
                return None
            raise
        return None if entry is None else Stored(storage, index, entry.pdu, entry.stat)

    def forget(self, stored: Stored) -> bool:
        if stored.storage.startswith("+"):
            return self._acknowledge(stored)
        there = self.read(stored.storage, stored.index)
        if there is None or there.pdu != stored.pdu.upper():
            return False
        self._tell("cmgd", self._settings.url)
        self._command(f"AT+CMGD={stored.index}")
        return True

    def _acknowledge(self, stored: Stored) -> bool:
        with self._session.changed:
            if stored not in self._direct:
                return False
        if self._acknowledges:
            self._tell("cnma", self._settings.url)
            self._try("AT+CNMA")
        with self._session.changed:
            self._direct.remove(stored)
        return True

    def _select(self, storage: str) -> None:
        """Make it mem1, by which +CMGL, +CMGR and +CMGD go, unless it is."""
        if self._memories[:1] != [storage]:
            self._command(f'AT+CPMS="{storage}"')
            self._memories[:1] = [storage]

    def _on_urc(self, lines: list[str]) -> None:
        """Runs in the reader, under the session's condition."""
        line = lines[0]
        if line in at.RESTARTED and self._session.set_up:
            self._session.restarted()
        elif line.startswith(at.DIRECT) and len(lines) > 1:
            self._direct.append(Stored(line.split(":")[0], 0, lines[1].upper()))
            self._hints.add(("", 0))
        elif line.startswith(("+CMTI:", "+CDSI:")):
            self._hints.add(at.slot(line) or ("", 0))
        elif line.startswith((*at.DIRECT, "^SMMEMFULL:")):
            self._hints.add(("", 0))

    def wait(self, timeout: timedelta) -> bool:
        session = self._session
        with session.changed:
            session.changed.wait_for(
                lambda: self._hints or self._interrupted or session.death is not None, timeout.total_seconds()
            )
            self._interrupted = False
            if session.death is not None:
                raise PortDied(session.death.code, session.death.detail)
            return bool(self._hints)

    def hinted(self) -> set[tuple[str, int]]:
        with self._session.changed:
            self._session.check()
            hints, self._hints = self._hints, set()
            # A storage by another name (MT is SM and ME together) says only that something came.
            return {hint if hint[0] in _STORAGES else ("", 0) for hint in hints}

    def interrupt(self) -> None:
        with self._session.changed:
            self._interrupted = True
            self._session.changed.notify_all()


def _name(command: str) -> str:
    """The command without its arguments, which may be a PIN."""
    return command.split("=")[0]


@contextmanager
def _before_ctrl_z() -> Iterator[None]:
    """Whatever is lost here, surely nothing went out."""
    try:
        yield
    except ModemLost as lost:
        raise NotSubmitted(lost.code, lost.detail, retryable=True) from lost
