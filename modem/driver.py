"""SerialModem: the Modem protocol over python-gsmmodem-new, with our transport beneath it and our own SMS paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

from modem import at, opening, verdicts
from modem.dialogue import Dialogue
from modem.inbox import Inbox
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
    Ussd,
)
from modem.quirks import Quirks
from modem.session import BUSY_PAUSES, Session, Silence
from modem.transport import CTRL_Z, PortDied

_BAR_SECONDS = 30.0  # the network is asked; sticks report a time-out of their own before
_SIM_TELLS = timedelta(seconds=30)  # slow SIMs tell their numbers so long after +CPIN says READY
_SECOND_VERDICT_SECONDS = 3.0  # two verdicts of one modem that are both due come close together
_REGISTRATIONS_BEST_FIRST = ("home", "roaming", "searching", "denied", "idle", "unknown")
_RINGING = ("RING", "+CRING:")


class SerialModem:
    """One session on one control port; the contract is `modem.port.Modem`. A lost session is replaced by a new object."""

    def __init__(self, settings: PortSettings, observer: Observer | None = None) -> None:
        self._settings = settings
        self._tell: Observer = observer or (lambda step, port: None)
        self._session = Session(settings, self._on_urc)
        if settings.verdict_owed:
            self._session.owed = self._session.late_verdicts
        self._inbox = Inbox(self._session, self._tell, settings.url)
        self._dialogue = Dialogue(self._session)
        self._quirks = Quirks()
        self._sim = opening.Sim(None, None, None)
        self._open = False
        self._barred = not settings.bar_calls
        self._slowly = False
        self._reference: int | None = None
        self._counts = False
        # Below: written by the reader, guarded by the session's condition.
        self._interrupted = False
        self._doubtful = False
        self._ringing = False
        self._calls = 0

    # the session

    def open(self) -> Identity:
        session, settings = self._session, self._settings
        try:
            session.connect()
            opening.wake(session, settings)
            maker, model, self._quirks = opening.habits(session)
            if settings.restart == "first":
                self._start_anew()
                session.check()
            self._unlock()
            opening.choose_network(session, settings, self._quirks)
            identity, self._sim = opening.identify(
                session, maker, model, min(settings.boot_timeout, _SIM_TELLS)
            )
            self._inbox.set_up(settings.boot_timeout)
        except BaseException:
            self.close()
            raise
        self._dialogue.form = self._quirks.ussd
        self._open = True
        return identity

    def _unlock(self) -> None:
        try:
            opening.unlock(self._session, self._settings, self._quirks)
        except (SimLocked, ModemLost):
            raise
        except ModemError:
            if self._settings.restart == "stuck" and self._start_anew():
                self._session.check()
            raise

    def close(self) -> None:
        self._session.close()

    def verify(self) -> None:
        with self._session.changed:
            self._doubtful = False
        self._session.sim_failed = False
        opening.stop_pacing(self._session)
        opening.check_sim(self._session, self._sim)
        if not self._inbox.verify():
            for command in self._quirks.setup:
                self._session.attempt(command)

    def restart(self) -> bool:
        self._session.check()
        return self._open and self._start_anew()

    def _start_anew(self) -> bool:
        session = self._session
        if not self._quirks.restart:
            return False
        try:
            lines = session.ask("AT+CFUN=1,1", self._settings.answer_timeout.total_seconds())
        except (Silence, ModemLost):
            lines = ["OK"]  # some are gone before they have said so
        if verdicts.verdict(lines[-1]) is not None:
            return False
        session.end("restarting", "the modem was told to start anew: it is opened again")
        return True

    def examine(self, queries: Sequence[str]) -> dict[str, list[str]]:
        for query in queries:
            if not at.is_read_only(query):
                raise ValueError(f"{query!r} may change something: only queries are examined")
        self._attend()
        answers: dict[str, list[str]] = {}
        for query in queries:
            try:
                answers[query] = self._session.ask(query, self._settings.answer_timeout.total_seconds())
            except Silence:
                answers[query] = []
                self._session.resync()
        return answers

    def _attend(self) -> None:
        """What came up since the last call: a call to hang up, a modem or a SIM that may not be the same any more."""
        with self._session.changed:
            ringing, doubtful = self._ringing, self._doubtful
        if ringing:
            self._hang_up()
        if doubtful or self._session.sim_failed:
            self.verify()

    # state

    def status(self) -> Status:
        self._attend()
        query = self._session.query
        said = {
            registration
            for command in ("AT+CREG?", "AT+CGREG?", "AT+CEREG?")
            for line in query(command)
            if (registration := at.registration(line)) is not None
        }
        best = next((name for name in _REGISTRATIONS_BEST_FIRST if name in said), "unknown")
        status = Status(best, at.signal(query("AT+CSQ")), at.operator(query("AT+COPS?")))
        if status.can_send and not self._barred:
            self._barred = True
            # "0000" is what Indonesian operators set the barring password to at first.
            self._session.attempt('AT+CLCK="AI",1,"0000"', _BAR_SECONDS)
        return status

    def usage(self) -> list[Usage]:
        self._attend()
        return self._inbox.usage()

    # calls

    def calls(self) -> int:
        with self._session.changed:
            calls, self._calls = self._calls, 0
            return calls

    def _hang_up(self) -> None:
        """Some end a voice call by ATH, some answer OK to it and go on ringing: with the next ring the other one comes first."""
        with self._session.changed:
            odd = self._calls % 2
        any(self._session.attempt(command) for command in (("ATH", "AT+CHUP") if odd else ("AT+CHUP", "ATH")))
        with self._session.changed:
            self._ringing = False

    # sending

    def submit(self, parts: Sequence[Submit], go: Callable[[], bool]) -> list[int]:
        """See `modem.port.Modem`.

        A verdict that was given up may still come, and then be taken for the next one's. After such a doubt, and unless it came meanwhile, the next
        submit believes a +CMGS only if its reference, or a second verdict behind it, or none for a while, tells that it is its own; an error,
        or the reference that the other one would have, is a doubt too.
        """
        references: list[int] = []
        with self._session._txLock:
            with _before_ctrl_z():
                self._attend()
            for part in parts:
                try:
                    references.append(self._submit_one(part, go if not references else lambda: True))
                except MaybeSubmitted as doubt:
                    doubt.references = tuple(references)
                    raise
                except NotSubmitted as refusal:
                    if not references:
                        raise
                    raise MaybeSubmitted(
                        refusal.code,
                        f"part {len(references) + 1} of {len(parts)} was refused after the others went: {refusal.detail}",
                        blame=refusal.blame,
                        references=references,
                    ) from refusal
        return references

    def _submit_one(self, part: Submit, go: Callable[[], bool]) -> int:
        owed = self._owes_a_verdict()
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
        with self._session.changed:
            heard, known = self._session.late_verdicts, len(self._session.late_references)
        said = self._enter(None if owed else known)
        return self._its_own(said, heard, known) if owed else self._went(said)

    def _offer(self, part: Submit) -> None:
        """AT+CMGS, the prompt, the PDU; Ctrl-Z is not yet written. A busy modem is asked for its prompt again."""
        self._tell("cmgs", self._settings.url)
        for pause in (*BUSY_PAUSES, None):
            try:
                lines = self._session.ask(
                    f"AT+CMGS={part.length}", self._settings.prompt_timeout.total_seconds(), prompt=True
                )
            except Silence as silence:
                self._session.resync()
                raise NotSubmitted(
                    "no_prompt", "the modem gave no prompt for the SMS", retryable=True
                ) from silence
            if lines[-1] == at.PROMPT:
                self._tell("pdu", self._settings.url)
                if self._slowly:
                    self._session.put_slowly(part.pdu)
                else:
                    self._session.put(part.pdu)
                return
            verdict = verdicts.verdict(lines[-1])
            if verdict is None:  # a stray OK: the prompt may come yet
                self._session.resync()
            if pause is None or verdict is None or verdict.code not in verdicts.BUSY:
                raise self._refused(verdict)
            self._session.pause(pause)

    def _refused(self, verdict: verdicts.Verdict | None) -> NotSubmitted:
        if verdict is None:
            return NotSubmitted("no_prompt", "the modem gave no prompt for the SMS", retryable=True)
        self._session.sim_failed = self._session.sim_failed or verdict.blame == "sim"
        return NotSubmitted(verdict.code, verdict.detail, blame=verdict.blame, retryable=verdict.retryable)

    def _asked(self, go: Callable[[], bool]) -> bool:
        try:
            return go()
        except BaseException:
            with suppress(ModemLost):
                self._session.resync()
            raise

    def _enter(self, known: int | None) -> int | NotSubmitted:
        """Ctrl-Z, and what the modem says to it: the reference, or a refusal. Raises MaybeSubmitted for anything else.

        known: how many late references there were before; None where one of an earlier SMS may come.
        """
        try:
            lines = self._session.ask(CTRL_Z, self._cmgs_seconds, end="")
        except Silence as silence:
            lines = silence.lines
            code, why = "no_verdict", "the modem did not say whether the SMS went out"
            with self._session.changed:
                if self._doubtful:
                    code, why = (
                        "modem_restarted",
                        "the modem started anew before it said whether the SMS went out",
                    )
                self._session.owed = self._session.late_verdicts
            with suppress(ModemLost):
                self._session.resync()
        except PortDied as death:
            lines = list(death.lines)
            code, why = death.code, death.detail
        else:
            code, why = "no_reference", f"the modem answered {lines[-1]} without a reference"
            if (
                lines == ["OK"]
                and known is not None
                and (behind := self._session.behind_ok(known)) is not None
            ):
                return behind
        for line in lines:
            reference = at.message_reference(line)
            if reference is not None:
                self._session.owed = None
                return reference
        verdict = verdicts.verdict(lines[-1]) if lines else None
        if verdict is None:
            raise MaybeSubmitted(code, why)
        self._session.owed = None
        if verdicts.leaves_doubt(verdict):
            raise MaybeSubmitted(verdict.code, verdict.detail, blame=verdict.blame)
        if verdict.code in verdicts.TORN_PDU and not self._slowly:
            self._slowly = True  # the next one, that is: a PDU is never given twice here
            return NotSubmitted(verdict.code, verdict.detail, blame=verdict.blame, retryable=True)
        return self._refused(verdict)

    def _went(self, said: int | NotSubmitted) -> int:
        if isinstance(said, NotSubmitted):
            raise said
        self._counts = self._reference is not None and (said - self._reference) % 256 == 1
        self._reference = said
        return said

    def _owes_a_verdict(self) -> bool:
        """True if a submit before this one was given up and its verdict has not come since."""
        session = self._session
        with session.changed:
            if session.owed != session.late_verdicts:
                session.owed = None
            return session.owed is not None

    def _its_own(self, said: int | NotSubmitted, heard: int, known: int) -> int:
        """The reference of this submit, where `said` may be the verdict that an earlier one had been owed.

        `heard`, `known`: how many late verdicts and references there were before it.
        """
        session = self._session
        expected = None if self._reference is None or not self._counts else (self._reference + 1) % 256
        if isinstance(said, int) and expected is not None and said == (expected + 1) % 256:
            return self._went(said)
        with session.changed:
            session.changed.wait_for(
                lambda: session.late_verdicts != heard or session.death is not None,
                self._second_verdict_seconds(expected),
            )
            second = session.late_references[known:]
            if second:
                session.late_references[known:] = [said] if isinstance(said, int) else []
            refused = session.late_verdicts != heard and not second
        if second:
            return self._went(second[0])
        if isinstance(said, int) and not refused and said != expected:
            return self._went(said)
        if isinstance(said, int) and not refused:
            session.owed = session.late_verdicts  # of the two, one is still to come
        raise MaybeSubmitted(
            "unclear_verdict",
            "the modem's verdict may be that of the SMS before, for which it had given none",
            blame="modem",
        )

    def _second_verdict_seconds(self, expected: int | None) -> float:
        """How long a second verdict is waited for: longer where the session before left no reference to tell it by."""
        if expected is None and self._settings.verdict_owed:
            return self._settings.answer_timeout.total_seconds()
        return min(self._settings.drain_timeout.total_seconds(), _SECOND_VERDICT_SECONDS)

    @property
    def _cmgs_seconds(self) -> float:
        """What is set; or longer, where the maker says so and nobody set less than the default."""
        wanted = self._settings.cmgs_timeout
        if self._quirks.cmgs_timeout is not None and wanted >= PortSettings("").cmgs_timeout:
            wanted = max(wanted, self._quirks.cmgs_timeout)
        return wanted.total_seconds()

    def late_references(self) -> list[int]:
        with self._session.changed:
            late, self._session.late_references = self._session.late_references, []
            return late

    # receiving

    def inbox(self, storage: str | None = None) -> list[Stored]:
        self._attend()
        found = self._inbox.inbox(storage)
        if found:
            self._same_sim()
        return found

    def read(self, storage: str, index: int) -> Stored | None:
        self._attend()
        stored = self._inbox.read(storage, index)
        if stored is not None:
            self._same_sim()
        return stored

    def _same_sim(self) -> None:
        """What was read is of the SIM that was opened. Some sticks say no word when it is swapped under power."""
        opening.check_sim(self._session, self._sim, first=True)

    def forget(self, stored: Stored) -> bool:
        self._attend()
        return self._inbox.forget(stored)

    def wait(self, timeout: timedelta) -> bool:
        session = self._session
        with session.changed:
            session.changed.wait_for(
                lambda: (
                    self._inbox.hints
                    or self._interrupted
                    or self._ringing
                    or self._doubtful
                    or session.death is not None
                ),
                timeout.total_seconds(),
            )
            self._interrupted = False
            session.check()
        try:
            self._attend()
        except ModemLost:
            raise
        except ModemError:
            session.check()  # whoever asks next is told
        with session.changed:
            return bool(self._inbox.hints)

    def hinted(self) -> set[tuple[str, int]]:
        with self._session.changed:
            self._session.check()
            return self._inbox.take_hints()

    def interrupt(self) -> None:
        with self._session.changed:
            self._interrupted = True
            self._session.changed.notify_all()

    # USSD

    def ussd(self, code: str, timeout: timedelta) -> Ussd:
        self._attend()
        return self._dialogue.dial(code, timeout.total_seconds())

    def ussd_cancel(self) -> None:
        self._dialogue.cancel()

    def pushed(self) -> list[str]:
        return self._dialogue.pushed()

    def _on_urc(self, lines: list[str]) -> None:
        """Runs in the reader, under the session's condition."""
        line = lines[0]
        if line in at.RESTARTED and self._session.set_up:
            self._doubtful = True
            self._session.shake()
        elif line.startswith(_RINGING):
            self._calls += not self._ringing
            self._ringing = True
        elif line.startswith("+CUSD:"):
            self._dialogue.hear(line)
        else:
            self._inbox.hear(lines)


@contextmanager
def _before_ctrl_z() -> Iterator[None]:
    """Whatever fails or is lost here, surely nothing went out."""
    try:
        yield
    except NotSubmitted:
        raise
    except ModemLost as lost:
        raise NotSubmitted(lost.code, lost.detail, retryable=True) from lost
    except ModemError as no:
        raise NotSubmitted(no.code, no.detail, blame=no.blame, retryable=no.retryable) from no
