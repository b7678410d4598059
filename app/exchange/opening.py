"""Opening a lane's modem: find its port, unlock its SIM, take the lane's row, enter who is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from app.domain.states import LaneState
from app.store import lanes, sims, submissions
from app.store.engine import Store
from modem import Identity, Modem, ModemError, PortSettings, SimLocked, Status
from modem.discovery import same_iccid
from modem.pdu import NumberType
from modem.port import Restart
from modem.quirks import quirks_for

AWAY = frozenset(
    {
        "port_missing", "port_busy", "probing", "stick_missing", "stick_in_storage_mode", "stick_hilink", "stick_without_port",
        "sim_missing",
    }
)  # fmt: skip
"""There is nothing to open yet: looked for again soon, and nothing is done to it, for a stick must not be reset because it is away."""
VERDICT_LATE = timedelta(
    minutes=5
)  # makers give +CMGS up to 180 s; who was given up may still say it after that
_WIRED = ("socket://", "rfc2217://")  # behind them a modem keeps its power when the port is lost
SILENT = frozenset({"not_a_modem", "out_of_step", "no_answer"})
"""The port is there and gives no sensible answer: cause for the health ladder."""


STUCK_SIM = frozenset({"sim_not_ready", "sim_failure"})
"""The modem answers and cannot read its SIM, which a restart often cures."""


class Host(Protocol):
    """What a lane may ask of the host about its stick. `device` is a port as `PortSettings.url` has it."""

    def in_use(self, device: str) -> bool:
        """A lane holds it: nobody else speaks to it. False where another lane does already."""
        ...

    def released(self, device: str) -> None: ...

    def socket_of(self, device: str) -> str | None:
        """The USB socket that it sits in, such as `1-1.2`; None where that is not known."""
        ...

    def power_cycle(self, usb_path: str) -> bool:
        """Take the power of that socket away for a moment; False where the system does not let us."""
        ...


@dataclass(frozen=True, slots=True)
class LaneSetup:
    """What a lane is made of: its row's values, its port, whether status reports are asked for.

    iccid: the only SIM it may work with · number_type: how numbers without + are announced · locate: the port's URL and USB
    socket, for a lane without a fixed port (raises ModemError) · host: None where there is none to ask.
    """

    spec: lanes.LaneSpec
    port: PortSettings
    status_reports: bool
    iccid: str | None = None
    number_type: NumberType = "unknown"
    locate: Callable[[], tuple[str, str | None]] | None = None
    host: Host | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An open modem that has its lane. foreign: it holds another SIM than last time · owes: an earlier session's verdict may come."""

    modem: Modem
    identity: Identity
    status: Status
    url: str
    usb_path: str | None
    fence: int
    sim_id: str
    foreign: bool
    owes: bool


class NotOpened(Exception):
    """Why not: a stable code, a sentence, the lane's state, and where the stick is, if that is known."""

    def __init__(
        self, code: str, detail: str, *, state: LaneState = LaneState.OFFLINE, usb_path: str | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.state = state
        self.usb_path = usb_path


class Opener:
    """Opens one lane's modem, again and again."""

    def __init__(
        self,
        setup: LaneSetup,
        *,
        store: Store,
        process_id: str,
        open_modem: Callable[[PortSettings], Modem],
        clock: Callable[[], datetime],
    ) -> None:
        self._setup = setup
        self._name = setup.spec.name
        self._store = store
        self._process_id = process_id
        self._open_modem = open_modem
        self._clock = clock

    def open(self, *, restart: Restart = "no") -> Opened:
        """Open the port, then take the lane: who has the port owns the row. Raises NotOpened, or what the store raises.

        restart: a modem that may be told to start anew is told so instead (`PortSettings.restart`): NotOpened `restarting`.
        """
        url, usb_path = self._where()
        if self._store.read(
            lambda tx: lanes.owned_by_another(tx, self._name, self._process_id, self._clock())
        ):
            raise NotOpened("held_elsewhere", "another process of this gateway holds this lane")
        host = self._setup.host
        if host is not None and not host.in_use(url):
            raise NotOpened(
                "port_busy",
                f"another lane of this gateway holds {url}: bind each lane to a SIM or socket of its own",
            )
        try:
            return self._open(url, usb_path, restart)
        except BaseException:
            self.let_go(url)
            raise

    def let_go(self, url: str) -> None:
        """Its modem was closed."""
        if self._setup.host is not None:
            self._setup.host.released(url)

    def verdict_within(self, identity: Identity) -> timedelta:
        """How long at most this modem is waited for after Ctrl-Z: what is set, or longer where its maker says so."""
        return max(
            self._setup.port.cmgs_timeout,
            quirks_for(identity.maker, identity.model).cmgs_timeout or timedelta(0),
        )

    def _where(self) -> tuple[str, str | None]:
        if self._setup.locate is None:
            return self._setup.port.url, None
        try:
            return self._setup.locate()
        except ModemError as error:
            raise NotOpened(error.code, error.detail) from error

    def _open(self, url: str, usb_path: str | None, restart: Restart) -> Opened:
        pin, offered = self._setup.port.pin, False

        def may_offer(iccid: str | None) -> bool:
            nonlocal offered
            offered = pin is not None and self._store.write(
                lambda tx: sims.offered_pin(tx, self._name, pin, iccid)
            )
            return offered

        owes = self._store.read(
            lambda tx: submissions.owes_a_verdict(
                tx, self._name, self._clock() - VERDICT_LATE, powered=url.startswith(_WIRED)
            )
        )
        modem = self._open_modem(
            replace(
                self._setup.port,
                url=url,
                may_offer_pin=may_offer,
                verdict_owed=owes,
                restart=restart,
            )
        )
        try:
            identity = modem.open()
            if pin is not None:
                done = sims.pin_was_right if offered else sims.pin_not_needed
                self._store.write(lambda tx: done(tx, self._name))
                offered = False
            self._check_sim(identity)
            status = modem.status()
            usb_path = self._socket(url, usb_path)
            fence, sim_id, foreign = self._take(identity, status, url, usb_path)
        except ModemError as error:
            modem.close()
            locked = isinstance(error, SimLocked)
            if offered and not (isinstance(error, SimLocked) and error.pin_was_offered):
                # It was taken, and something else failed.
                self._store.write(lambda tx: sims.pin_was_right(tx, self._name))
            state = LaneState.LOCKED if locked else LaneState.OFFLINE
            if error.code not in AWAY:
                usb_path = self._socket(url, usb_path)
            raise NotOpened(error.code, error.detail, state=state, usb_path=usb_path) from error
        except BaseException:
            modem.close()
            raise
        return Opened(modem, identity, status, url, usb_path, fence, sim_id, foreign, owes)

    def _socket(self, url: str, usb_path: str | None) -> str | None:
        host = self._setup.host
        return host.socket_of(url) if usb_path is None and host is not None else usb_path

    def _check_sim(self, identity: Identity) -> None:
        wanted = self._setup.iccid
        if wanted is None or same_iccid(wanted, identity.iccid):
            return
        found = "does not tell its number" if identity.iccid is None else f"ends in {identity.iccid[-4:]}"
        raise ModemError(
            "other_sim",
            f"this lane belongs to the SIM whose ICCID ends in {wanted.rstrip('Ff')[-4:]}, and the one in this modem {found}: "
            "put the right SIM in, or correct iccid for this lane",
            blame="sim",
        )

    def _take(
        self, identity: Identity, status: Status, url: str, usb_path: str | None
    ) -> tuple[int, str, bool]:
        now = self._clock()
        fence = self._store.write(lambda tx: lanes.take(tx, self._name, self._process_id, now))
        if fence is None:
            raise ModemError("held_elsewhere", "another process of this gateway holds this lane")
        # A stick that tells no ICCID is known by its IMSI, else by its place: worse, but never mixed with another.
        place = usb_path if self._setup.locate is not None and usb_path else self._setup.port.url
        iccid = identity.iccid or (f"imsi {identity.imsi}" if identity.imsi else f"port {place}")
        sim_id, foreign = self._store.write(
            lambda tx: lanes.connect(
                tx,
                self._name,
                fence,
                now,
                iccid=iccid,
                imsi=identity.imsi,
                own_number=identity.own_number,
                operator=status.operator,
                imei=identity.imei,
                maker=identity.maker,
                model=identity.model,
                firmware=identity.firmware,
                port=url,
                usb_path=usb_path,
            )
        )
        return fence, sim_id, foreign
