"""One SMS from a SIM to itself: proves that both ways work, and shows what they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from modem.pdu import Deliver, PduError, decode, encode_submit
from modem.port import Modem, ModemError, ModemLost, Stored

RECEIVES_WITHIN = timedelta(minutes=3)
"""How long the SMS is waited for; a network that is well takes 3 to 20 s."""
_LOOKS = timedelta(seconds=5)  # between two listings, where no indication comes
_USSD = timedelta(seconds=30)
_RUPIAH = re.compile(r"Rp\.?\s*(\d{1,3}(?:[.,]\d{3})+|\d+)", re.IGNORECASE)
_DATE = re.compile(r"\b(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})\b")


@dataclass(frozen=True, slots=True)
class Looped:
    """What came back. `centre_ahead`: the service centre's clock minus this host's · `cost`: rupiah, None where no credit was read."""

    delay: timedelta
    centre_ahead: timedelta | None
    storage: str
    cost: int | None

    def as_json(self) -> dict[str, Any]:
        ahead = self.centre_ahead
        return {
            "delay_seconds": round(self.delay.total_seconds(), 1),
            "centre_ahead_seconds": None if ahead is None else round(ahead.total_seconds()),
            "storage": self.storage,
            "cost": self.cost,
        }


def credit_in(text: str) -> int | None:
    """The first amount of rupiah in what a USSD code answered."""
    found = _RUPIAH.search(text)
    return int(re.sub(r"[.,]", "", found[1])) if found else None


def valid_until(text: str) -> date | None:
    """The first date, day first, in what a USSD code answered of a SIM's credit."""
    found = _DATE.search(text)
    if found is None:
        return None
    day, month, year = (int(part) for part in found.groups())
    try:
        return date(year + 2000 * (year < 100), month, day)
    except ValueError:
        return None


def loop(
    modem: Modem,
    number: str,
    mark: str,
    now: Callable[[], datetime],
    *,
    credit_code: str | None = None,
    patience: timedelta = RECEIVES_WITHIN,
) -> Looped:
    """Send `mark` once to this SIM's own number and wait for it on an open modem; it is removed again, nothing else is.

    Raises ModemError: NotSubmitted, MaybeSubmitted, or `loop_not_received`. Never sends a second one.
    """
    try:
        parts = encode_submit(number, mark, validity=timedelta(minutes=5), report=False, concat_reference=0)
    except PduError as error:
        raise ModemError(
            "number_invalid", f"{number} is no number to send to: {error}", blame="gateway"
        ) from None
    before = _credit(modem, credit_code)
    modem.submit(parts, lambda: True)
    sent = now()
    stored, got = _wait(modem, mark, now, sent + patience)
    delay = now() - sent
    modem.forget(stored)
    after = _credit(modem, credit_code)
    stamp = got.service_centre_time
    return Looped(
        delay=delay,
        centre_ahead=None if stamp is None else stamp - sent,
        storage=stored.storage,
        cost=None if before is None or after is None else before - after,
    )


def _wait(modem: Modem, mark: str, now: Callable[[], datetime], until: datetime) -> tuple[Stored, Deliver]:
    while True:
        for stored in modem.inbox():
            try:
                message = decode(stored.pdu)
            except PduError:
                continue
            if isinstance(message, Deliver) and message.text == mark:
                return stored, message
        if now() >= until:
            raise ModemError(
                "loop_not_received",
                "the SMS was sent and did not come back: sending works, receiving does not, or the number is not this SIM's own",
                blame="network",
            )
        modem.wait(min(_LOOKS, max(timedelta(0), until - now())))
        modem.hinted()


def _credit(modem: Modem, code: str | None) -> int | None:
    if code is None:
        return None
    try:
        said = modem.ussd(code, _USSD)
        if said.more:
            modem.ussd_cancel()
    except ModemLost:
        raise
    except ModemError:
        return None
    return credit_in(said.text)
