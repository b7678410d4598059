"""Who keeps a modem as the gateway does, and the day that is spent with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic

from stranger_modems import Stranger

from modem import (
    Deliver,
    Identity,
    MaybeSubmitted,
    ModemError,
    ModemLost,
    NotSubmitted,
    PduError,
    PortSettings,
    SerialModem,
    Stored,
    decode,
    encode_submit,
)

SOON = timedelta(milliseconds=20)
DAY = 30.0  # seconds that a test goes on at most, where a modem is slow
FIRST, SECOND, THIRD = "Saldo A KPJ 99012345678", "Saldo B KPJ 99012345678", "Saldo C KPJ 99012345678"


class Owner:
    """Who keeps a modem as the gateway does: reads on hints and counts, removes what it has, opens anew what was lost."""

    def __init__(self, stick: Stranger) -> None:
        some = timedelta(seconds=stick.kind.patience)
        self.settings = PortSettings(
            stick.url,
            boot_timeout=timedelta(seconds=10),
            cmgs_timeout=2 * some,
            prompt_timeout=some,
            answer_timeout=some,
            wake_timeout=timedelta(seconds=3),
            drain_timeout=some,
        )
        self.received: list[str] = []
        self.taken: list[tuple[str, str]] = []
        self.sent = 0
        self.maybe = 0
        self.identities: list[Identity] = []
        self._whole = True
        self._left: dict[str, int] = {}
        self._kept: dict[tuple[str, int], str] = {}
        self._doubted: set[tuple[str, int]] = set()
        self.modem = self._open()

    @classmethod
    @contextmanager
    def of(cls, stick: Stranger) -> Iterator[Owner]:
        owner = cls(stick)
        try:
            yield owner
        finally:
            owner.close()

    def _open(self) -> SerialModem:
        end = monotonic() + DAY
        while True:
            modem = SerialModem(self.settings)
            try:
                self.identities.append(modem.open())
            except ModemError as no:
                if not no.retryable or monotonic() > end:
                    raise
            else:
                self._whole = True
                return modem

    def close(self) -> None:
        self.modem.close()

    def _again(self) -> None:
        self.modem.close()
        self.modem = self._open()

    def step(self) -> None:
        try:
            self._step()
        except ModemLost:
            self._again()
        except ModemError:
            self._whole = True

    def _step(self) -> None:
        modem, found = self.modem, list[Stored]()
        modem.wait(SOON)
        hints = modem.hinted()
        whole = self._whole or ("", 0) in hints
        self._whole = True  # until this came to its end
        found += [stored for slot in hints if slot[0] and (stored := modem.read(*slot))]
        for usage in modem.usage():
            here = sum(stored.storage == usage.storage for stored in found)
            whole = whole or usage.used != self._left.get(usage.storage, 0) + here
        if whole:
            listed = modem.inbox()
            known = {stored.pdu for stored in listed}
            found = [stored for stored in found if stored.pdu not in known] + listed
            self._left.clear()
        for stored in found:
            slot = (stored.storage, stored.index)
            if self._kept.get(slot) != stored.pdu:
                self.taken.append((stored.storage, stored.pdu))
                self.received += texts_of(stored.pdu)
                self._kept[slot] = stored.pdu
        self._whole = False
        for stored in found:
            self._remove(stored)

    def _remove(self, stored: Stored) -> None:
        slot = (stored.storage, stored.index)
        try:
            if self.modem.forget(stored):
                del self._kept[slot]
                return
        except ModemLost:
            raise
        except ModemError:
            pass
        self._left[stored.storage] = self._left.get(stored.storage, 0) + 1
        if slot not in self._doubted:
            self._doubted.add(slot)
            self._whole = True

    def until(self, true: Callable[[], bool]) -> None:
        end = monotonic() + DAY
        while not true():
            assert monotonic() < end, self.received
            self.step()

    def send(self, text: str) -> None:
        """Sent, or in doubt, in the end; what was surely not sent is tried again, as the gateway does, five times."""
        (part,) = encode_submit("2757", text, validity=None, report=False, concat_reference=0)
        for _ in range(5):
            try:
                self.modem.submit([part], lambda: True)
            except NotSubmitted as no:
                if not no.retryable:
                    raise
            except MaybeSubmitted:
                self.maybe += 1
                return
            except ModemLost:
                self._again()
            else:
                self.sent += 1
                return
        raise AssertionError("it could never be sent")


def texts_of(pdu: str) -> list[str]:
    """None in a report, nor in what noise fell into: that is read again later."""
    with suppress(PduError):
        found = decode(pdu)
        return [found.text] if isinstance(found, Deliver) else []
    return []


def spend_a_day(stick: Stranger, owner: Owner) -> None:
    assert owner.modem.status().can_send
    owner.until(lambda: {FIRST, SECOND} <= set(owner.received))
    owner.send("BALANCE#99000000101#")
    stick.deliver(THIRD)
    owner.until(lambda: THIRD in owner.received)
    owner.send("BALANCE#99000000201#")
    for _ in range(3):
        owner.step()


@contextmanager
def opened(stick: Stranger) -> Iterator[SerialModem]:
    with Owner.of(stick) as owner:
        yield owner.modem
