"""The Modem protocol: what a lane may ask of a modem, its values and its errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

from modem.pdu import Submit

Observer = Callable[[str, str], None]
"""Told each durable step: its name (`cmgs`, `pdu`, `ctrl-z`, `cmgd`, `cnma`, …) and the port. The product passes none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is on the line. Absent values are None, never empty. ICCID and IMSI name the SIM, IMEI the stick."""

    imei: str | None = None
    imsi: str | None = None
    iccid: str | None = None
    maker: str | None = None
    model: str | None = None
    firmware: str | None = None
    own_number: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Network state. `registration` is one of `home roaming searching denied idle unknown`; signal is 0 to 31 (+CSQ), None where unknown."""

    registration: str
    signal: int | None = None
    operator: str | None = None

    @property
    def can_send(self) -> bool:
        return self.registration in ("home", "roaming")


@dataclass(frozen=True, slots=True)
class Stored:
    """One PDU as it lies in a storage (3GPP TS 27.005 §3.4.2). `pdu` is the hex text, upper case, service centre in front.

    `storage` is `SM`, `ME`, `SR`, …; or `+CMT` / `+CDS` with index 0 for a PDU delivered directly, which `forget` acknowledges.
    """

    storage: str
    index: int
    pdu: str
    stat: int = 1


@dataclass(frozen=True, slots=True)
class Usage:
    """How full one storage is."""

    storage: str
    used: int
    total: int


@dataclass(frozen=True, slots=True)
class Ussd:
    """What the network said to a USSD code (3GPP TS 27.007 §7.15). `more`: it waits for an answer, by another `ussd`."""

    text: str
    more: bool = False


Restart = Literal["no", "first", "stuck"]


@dataclass(slots=True)
class PortSettings:
    """What is needed to open a port. `url` is any pyserial URL; durations are timedeltas.

    may_offer_pin: or what is asked once, right before a PIN is offered, with the ICCID if the locked SIM tells it ·
    network_mode: `auto 2g 3g 4g`, set as the quirks say; None leaves it · sms_over: `ps cs ps_first cs_first` of +CGSMS
    (3GPP TS 27.007 §10.1.21); None leaves it · verdict_owed: the session before gave up waiting for the verdict on an SMS,
    which may come yet · restart: where no quirk forbids it, the modem is told
    to start anew, `first`: as soon as it answers, or `stuck`: if its SIM cannot be read; `open` then raises ModemLost `restarting` · bar_calls: bar incoming calls where the network lets · trace: told every
    line of the exchange with its direction, `>` or `<`, identifiers replaced.
    """

    url: str
    baud: int = 115200
    pin: str | None = None
    may_offer_pin: bool | Callable[[str | None], bool] = True
    flow_control: bool = False
    network_mode: str | None = None
    sms_over: str | None = None
    verdict_owed: bool = False
    restart: Restart = "no"
    bar_calls: bool = False
    trace: Callable[[str, str], None] | None = None
    urcs: Sequence[str] = field(default_factory=tuple)
    boot_timeout: timedelta = timedelta(seconds=60)
    cmgs_timeout: timedelta = timedelta(seconds=120)
    prompt_timeout: timedelta = timedelta(seconds=10)
    answer_timeout: timedelta = timedelta(seconds=10)
    wake_timeout: timedelta = timedelta(seconds=3)
    drain_timeout: timedelta = timedelta(seconds=3)


class ModemError(Exception):
    """A modem's no. `code` is stable, `blame` one of `sim modem network gateway`; `detail` is a sentence for people."""

    def __init__(self, code: str, detail: str, *, blame: str = "modem", retryable: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.blame = blame
        self.retryable = retryable


class NotSubmitted(ModemError):
    """Surely nothing went out: refused before or by +CMGS."""


class MaybeSubmitted(ModemError):
    """Ctrl-Z was written and no verdict came: the SMS may be on the air. Never retried blindly.

    `references`: TP-MRs of the parts that surely went before the one in doubt, in their order.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        blame: str = "modem",
        retryable: bool = False,
        references: Sequence[int] = (),
    ) -> None:
        super().__init__(code, detail, blame=blame, retryable=retryable)
        self.references = tuple(references)


class ModemLost(ModemError):
    """The session is over (unplugged, out of step, taken). A new object must be opened."""


class SimLocked(ModemError):
    """The SIM wants a PIN or PUK that may not be offered. `pin_was_offered` says that a try was used."""

    def __init__(self, code: str, detail: str, *, pin_was_offered: bool = False) -> None:
        super().__init__(code, detail, blame="sim")
        self.pin_was_offered = pin_was_offered


class Modem(Protocol):
    """One session on one control port. Every call is made by one thread, but `interrupt`. Any call may raise ModemLost."""

    def open(self) -> Identity:
        """Open the port, wake and set up the modem, unlock the SIM. Raises ModemError with a sentence that says what is wrong."""
        ...

    def status(self) -> Status: ...

    def submit(self, parts: Sequence[Submit], go: Callable[[], bool]) -> list[int]:
        """Send the parts in order; their TP-MRs. `go` is asked once, right before the first Ctrl-Z; False means ESC and NotSubmitted `stood_down`.

        Raises NotSubmitted, or MaybeSubmitted from the first doubt on (also when a later part fails after an earlier one went).
        """
        ...

    def usage(self) -> list[Usage]:
        """Used and total of every storage that may receive (`AT+CPMS?`)."""
        ...

    def inbox(self, storage: str | None = None) -> list[Stored]:
        """Everything in one storage, or in all; with what was delivered directly and is not yet acknowledged."""
        ...

    def forget(self, stored: Stored) -> bool:
        """Remove it, only after the same PDU was read there again. False: the slot holds something else or nothing now."""
        ...

    def wait(self, timeout: timedelta) -> bool:
        """Sleep until a URC hints at something (True), `interrupt`, a call that was hung up, or the timeout."""
        ...

    def hinted(self) -> set[tuple[str, int]]:
        """Slots that +CMTI / +CDSI named since the last call; (`''`, 0) for a hint without a slot."""
        ...

    def read(self, storage: str, index: int) -> Stored | None:
        """One slot by +CMGR; None if it is empty."""
        ...

    def verify(self) -> None:
        """Read the SIM's ICCID and IMSI again, and PDU mode, storages and indications, which are set anew where they differ.

        Raises ModemLost `sim_changed` for another SIM. Meant for once a minute; after a SIM error the driver does it by itself.
        """
        ...

    def calls(self) -> int:
        """Calls that came in, and were hung up, since the last call."""
        ...

    def ussd(self, code: str, timeout: timedelta) -> Ussd:
        """Dial a USSD code, or answer the menu that is open. Raises ModemError `ussd_unsupported`, `ussd_refused`, `ussd_timeout`, …"""
        ...

    def ussd_cancel(self) -> None:
        """End an open USSD dialogue; nothing if there is none."""
        ...

    def pushed(self) -> list[str]:
        """USSD texts that the network sent by itself, or after their code was given up, since the last call."""
        ...

    def examine(self, queries: Sequence[str]) -> dict[str, list[str]]:
        """The lines that each read-only query is answered with, its result last, none where nothing came in time.

        One that fails does not end the others. Raises ValueError for a command that may change something.
        """
        ...

    def restart(self) -> bool:
        """Let the modem start anew (`AT+CFUN=1,1`), which ends this session; False where a quirk forbids it, and nothing is done."""
        ...

    def late_references(self) -> list[int]:
        """+CMGS answers that came after their command was given up, in this session."""
        ...

    def interrupt(self) -> None:
        """From any thread: end `wait` now."""
        ...

    def close(self) -> None: ...
