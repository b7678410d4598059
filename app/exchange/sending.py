"""The sending side of one open session: claim, put on the air, write how that went. Sent, surely not sent, or maybe: nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import GatewayError, Unavailable
from app.domain.identifiers import normalise_address
from app.domain.services import Catalogue
from app.exchange.reception import Desk, Place, settle_report
from app.store import inbox, lanes, loops, phones, submissions
from app.store.engine import Store, Tx
from modem import MaybeSubmitted, Modem, ModemLost, NotSubmitted, PduError, encode_submit, fits_one_part
from modem.pdu import NumberType

IDLE = timedelta(seconds=5)  # a question queued by another process is seen within this
NO_LEASE = timedelta(seconds=1)  # until it is looked at again whether this process's lease has margin
USUAL_VERDICT = timedelta(minutes=2)  # makers' manuals give +CMGS 120 s: so much is in `lanes.HUNG_STEP`
FEWEST_A_PART = (
    66  # characters of UCS2 in a part, one left off because of surrogates (3GPP TS 23.040 §9.2.3.24)
)
PHONE_VALIDITY = timedelta(hours=12)  # TP-VP of an answer to a phone: a phone may be off overnight
PHONE_PAUSE = timedelta(seconds=10)  # after a phone's answer was refused; doubles up to PHONE_WAITS
PHONE_WAITS = timedelta(minutes=10)
PHONE_PRICE = 350  # rupiah, the same guess as in the services' files
LOOP_VALIDITY = timedelta(minutes=5)  # TP-VP of an SMS to itself: nobody waits for it any longer


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A submission whose verdict may still come. `known`: TP-MRs of the parts before it · last: no part was left behind it."""

    submission_id: str
    question_id: str
    opened_at: datetime
    known: tuple[int, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class Sent:
    """What a step did: nothing until `wait_until`, or one message; `deadline` if its reply is waited for.

    no_network: it was refused for a reason that may be the network's, so how the modem is registered is to be asked ·
    refused: the modem itself is why it did not go, and may take the next one.
    """

    wait_until: datetime | None = None
    deadline: datetime | None = None
    no_network: bool = False
    refused: bool = False


class Sender:
    """Sends for one lane while its session lasts. `verdict_within` is how long this modem is waited for after each Ctrl-Z.

    owes: the verdict on an SMS of the session before may come in this one.
    """

    def __init__(
        self,
        place: Place,
        modem: Modem,
        *,
        store: Store,
        catalogue: Catalogue,
        may_send: Callable[[], bool],
        clock: Callable[[], datetime],
        status_reports: bool,
        number_type: NumberType = "unknown",
        desk: Desk | None,
        verdict_within: timedelta = timedelta(0),
        owes: bool = False,
    ) -> None:
        self._place = place
        self._modem = modem
        self._store = store
        self._catalogue = catalogue
        self._may_send = may_send
        self._clock = clock
        self._status_reports = status_reports
        self._number_type: NumberType = number_type
        self._no_network = self._refused = False
        self._desk = desk
        self._verdict_within = verdict_within
        self._parts = 1
        self.paused = False
        """Whether the lane's row said so at the last claim."""
        # In the order in which they went out; None: of no question, or of the session before.
        self._doubts: list[_Doubt | None] = [None] if owes else []
        self._late: list[int] = []
        self._cleared: list[tuple[_Doubt, int]] = []
        self._unwritten: Callable[[Tx], None] | None = None
        self._phones_at: datetime | None = None
        self._phone_pause = PHONE_PAUSE

    def settle_orphans(self, now: datetime) -> None:
        """A +CMGS that came after its command was given up settles the uncertain submission of this session that it belongs to."""
        self._late += self._modem.late_references()
        self._pair()
        if self._cleared:
            cleared = list(self._cleared)

            def write(tx: Tx) -> None:
                for doubt, reference in cleared:
                    references = [*doubt.known, reference]
                    self._note_sent(
                        tx, doubt.submission_id, doubt.question_id, references, doubt.opened_at, now
                    )

            self._store.write(write)
            self._cleared.clear()

    def _pair(self) -> None:
        """Late references to the doubts that they end: in order, and only where none of either is missing."""
        if not self._doubts:
            self._late.clear()
        elif len(self._late) >= len(self._doubts):
            for doubt, reference in zip(self._doubts, self._late, strict=False):
                if doubt is not None and doubt.last:
                    self._cleared.append((doubt, reference))
            self._doubts.clear()
            self._late.clear()

    def _no_verdict_comes_any_more(self) -> None:
        """A later submission has its own: a modem gives them in order."""
        self._late += self._modem.late_references()
        self._pair()
        self._doubts.clear()

    def _servable(self) -> list[submissions.Servable]:
        return [
            submissions.Servable(
                name=service.name,
                conversation=service.conversation,
                address=service.address,
                timeout=service.timing.timeout,
                late=service.timing.late,
                price=service.price.request,
                text=lambda fields, service=service: service.render(fields).text,  # type: ignore[misc]
            )
            for service in self._catalogue
            if service.enabled
        ]

    def step(self) -> Sent:
        """Claim and send one message, a phone's answer first; or say until when there is nothing."""
        now = self._clock()
        self._no_network = self._refused = False
        if not self._may_send():
            return Sent(wait_until=now + NO_LEASE)
        self._write_what_was_not()
        # Where the commit's word is lost, the claim may stand all the same.
        self._unwritten = lambda tx: lanes.recover_own(tx, self._place.lane, self._place.fence, now)
        claimed = self._store.write(lambda tx: self._claim(tx, now))
        self._unwritten = None
        if claimed is None or isinstance(claimed, datetime):
            return Sent(wait_until=min(claimed or now + IDLE, now + IDLE))
        if isinstance(claimed, phones.DueAnswer):
            self._answer_phone(claimed, now)
            return Sent(no_network=self._no_network, refused=self._refused)
        deadline = self._ask(claimed)
        return Sent(deadline=deadline, no_network=self._no_network, refused=self._refused)

    def _write_what_was_not(self) -> None:
        """The database was away when the last message was claimed or ended: nothing is claimed before that is written."""
        if self._unwritten is not None:
            self._store.write(self._unwritten)
            self._unwritten = None

    def _claim(self, tx: Tx, now: datetime) -> phones.DueAnswer | submissions.Claimed | datetime | None:
        place = self._place
        budget = lanes.budget(tx, place.lane, place.fence, now)
        self.paused = budget.paused
        if budget.paused:
            return now + IDLE
        if budget.next_send_at is not None:
            return budget.next_send_at
        claimed: phones.DueAnswer | submissions.Claimed | None = None
        if self._desk is not None and not lies_ahead(self._phones_at, now, PHONE_WAITS):
            claimed = phones.claim_answer(tx, place.lane, place.fence, place.sim_id, PHONE_PRICE, now)
        if claimed is None:
            claimed = submissions.claim(tx, place.lane, place.fence, place.sim_id, self._servable(), now)
        if claimed is None:
            return submissions.next_release(tx, place.sim_id, now)
        body = claimed.text if isinstance(claimed, submissions.Claimed) else ""
        lanes.spend(tx, place.lane, budget.pace, now, self._longer(body))
        return claimed

    def _longer(self, body: str) -> timedelta:
        """By how much putting this on the air may take longer than the usual SMS of one part."""
        parts = 1 if fits_one_part(body) else len(body) // FEWEST_A_PART + 1
        return max(timedelta(0), self._verdict_within * parts - USUAL_VERDICT)

    def _ask(self, claimed: submissions.Claimed) -> datetime:
        """Put a question on the air and write how that went; its deadline."""
        service = self._catalogue[claimed.service]
        by = self._place.lane
        try:
            if claimed.fault is not None:
                raise NotSubmitted(claimed.fault.code, claimed.fault.detail, blame="gateway")
            references = self._put_on_air(claimed.address, claimed.text, service.timing.timeout)
        except NotSubmitted as error:
            now, no = self._clock(), error
            if no.code == "stood_down":
                self._settle(lambda tx: submissions.stood_down(tx, claimed, now=now, by=by, why=no.code))
            else:
                self._settle(
                    lambda tx: submissions.refused(
                        tx,
                        claimed,
                        now=now,
                        by=by,
                        code=no.code,
                        blame=no.blame,
                        detail=no.detail,
                        retryable=no.retryable,
                    )
                )
        except (MaybeSubmitted, ModemLost) as error:
            now, why, known = self._clock(), error.code, gone(error)
            self._doubts[-1] = _Doubt(
                claimed.submission_id,
                claimed.question_id,
                claimed.opened_at,
                known,
                last=len(known) == self._parts - 1,
            )
            self._settle(
                lambda tx: submissions.maybe_sent(
                    tx, claimed.submission_id, claimed.question_id, now=now, by=by, why=why, references=known
                )
            )
        else:
            now = self._clock()
            self._settle(
                lambda tx: self._note_sent(
                    tx, claimed.submission_id, claimed.question_id, references, claimed.opened_at, now
                )
            )
        return claimed.opened_at + service.timing.timeout

    def _note_sent(
        self,
        tx: Tx,
        submission_id: str,
        question_id: str,
        references: Sequence[int],
        opened_at: datetime,
        now: datetime,
    ) -> None:
        submissions.sent(tx, submission_id, question_id, references, now=now, by=self._place.lane)
        if not self._status_reports:
            return
        status = inbox.early_report(tx, self._place.sim_id, submission_id, references, opened_at)
        if status is not None:
            settle_report(tx, inbox.Reported(submission_id, question_id, True), status, now)

    def _answer_phone(self, answer: phones.DueAnswer, now: datetime) -> None:
        assert self._desk is not None
        desk = self._desk
        state, references, code, words = "sent", None, None, ""
        try:
            words = self._store.read(lambda tx: desk.words(tx, answer, now))
        except Unavailable as away:
            no_words = away.code
            self._settle(lambda tx: phones.postpone_answer(tx, answer, now, no_words))
            return
        except GatewayError as error:  # its check or its service is not there any more
            no_words = error.code
            self._settle(
                lambda tx: phones.settle_answer(tx, answer, now, state="refused", text_sent="", code=no_words)
            )
            return
        try:
            sent = self._put_on_air(answer.number, words, PHONE_VALIDITY)
            references = ",".join(map(str, sent))
        except NotSubmitted as error:
            no, code = error, error.code
            if no.retryable or code == "stood_down":
                at = self._clock()
                if code != "stood_down":
                    self._phones_at = at + self._phone_pause
                    self._phone_pause = min(self._phone_pause * 2, PHONE_WAITS)
                self._settle(lambda tx: phones.postpone_answer(tx, answer, at, no.code))
                return
            state = "refused"
        except (MaybeSubmitted, ModemLost) as error:
            state, code = "uncertain", error.code
            references = ",".join(map(str, gone(error))) or None
        at = self._clock()
        self._phones_at, self._phone_pause = None, PHONE_PAUSE
        self._settle(
            lambda tx: phones.settle_answer(
                tx, answer, at, state=state, text_sent=words, references=references, code=code
            )
        )

    def to_itself(self, request_id: str, wanted: Mapping[str, Any]) -> str | None:
        """One SMS from this SIM to its own number, never again. None once it went out, or may have; else why surely nothing did."""
        place, now, mark = self._place, self._clock(), str(wanted.get("mark", ""))
        number = wanted.get("number") or self._store.read(lambda tx: loops.own_number(tx, place.sim_id))
        if number is None:
            return "the SIM does not know its own number: name it with --number 08…"
        if not mark.startswith(loops.MARK) or not fits_one_part(mark):
            return f"an SMS to itself begins with {loops.MARK!r} and is no longer than one part"
        if not self._may_send():
            return "the gateway's lease has no margin left: try again in a moment"
        self._write_what_was_not()
        self._unwritten = lambda tx: lanes.recover_own(tx, place.lane, place.fence, now)
        try:
            submission_id = self._store.write(
                lambda tx: loops.journal(
                    tx, request_id, lane=place.lane, fence=place.fence, sim_id=place.sim_id, number=str(number),
                    mark=mark, price=PHONE_PRICE, now=now,
                )
            )  # fmt: skip
        except loops.NotNow as why:
            self._unwritten = None
            return str(why)
        self._unwritten = None
        state, references, code, refusal = "sent", None, None, None
        try:
            references = ",".join(map(str, self._put_on_air(str(number), mark, LOOP_VALIDITY)))
        except NotSubmitted as error:
            state, code, refusal = "refused", error.code, error.detail
        except (MaybeSubmitted, ModemLost) as error:
            state, code = "uncertain", error.code
            references = ",".join(map(str, gone(error))) or None
        at = self._clock()
        self._settle(
            lambda tx: loops.settle(tx, submission_id, at, state=state, references=references, code=code)
        )
        return refusal

    def _settle(self, fn: Callable[[Tx], None]) -> None:
        """Write how a submission ended; with it the step is not hung any more."""

        def both(tx: Tx) -> None:
            fn(tx)
            lanes.sending_ended(tx, self._place.lane, self._place.fence)

        self._unwritten = both
        self._store.write(both)
        self._unwritten = None

    def _put_on_air(self, address: str, body: str, validity: timedelta) -> list[int]:
        reference = 0
        if not fits_one_part(body):
            sim_id = self._place.sim_id
            reference = self._store.write(lambda tx: lanes.next_concat_reference(tx, sim_id))
        try:
            parts = encode_submit(
                normalise_address(address) if not address.isdigit() else address,
                body,
                validity=validity,
                report=self._status_reports,
                concat_reference=reference,
                number_type=self._number_type,
            )
        except PduError as error:
            raise NotSubmitted(
                "unsendable", f"This text cannot be sent as an SMS: {error}", blame="gateway"
            ) from error
        self._parts = len(parts)

        def go() -> bool:
            self._late.extend(self._modem.late_references())  # what came before the Ctrl-Z is not this one's
            return self._may_send()

        try:
            references = self._modem.submit(parts, go)
        except NotSubmitted as error:
            self._no_network = error.blame == "network"
            self._refused = error.blame == "modem" and error.retryable
            raise
        except (MaybeSubmitted, ModemLost) as error:
            self._no_network = error.blame == "network"
            self._pair()
            self._doubts.append(None)
            raise
        self._no_verdict_comes_any_more()
        return references


def gone(error: MaybeSubmitted | ModemLost) -> tuple[int, ...]:
    """The TP-MRs of the parts that surely went out before the doubt."""
    return tuple(error.references) if isinstance(error, MaybeSubmitted) else ()


def lies_ahead(moment: datetime | None, now: datetime, at_most: timedelta) -> bool:
    """True until that moment comes; not if the clock was set back since it was chosen."""
    return moment is not None and timedelta(0) < moment - now <= at_most
