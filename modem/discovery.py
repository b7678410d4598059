"""On which port of which stick a lane's SIM is, as sticks come, go, and change places."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from modem.port import Identity, ModemError
from modem.sticks import SYSFS, KnownStick, Stick, UsbPort, glance, known_sticks, sticks

__all__ = ["Finder", "KnownStick", "Stick", "UsbPort", "known_sticks", "power_cycle", "sticks"]

_SCAN_SECONDS = 0.2  # lanes ask every 0.5 s each; one look at sysfs serves those that ask together
_SETTLE_SECONDS = 0.3  # the ports of one stick appear one after the other, within some 50 ms
_STAGGER_SECONDS = (
    0.05  # between the starts of two probes: sticks that wake all at once pull a hub's voltage down
)
_TOGETHER = 8  # probes at a time
_PAUSES = (
    2.0,
    3.0,
    5.0,
    10.0,
    30.0,
)  # seconds before an unanswered stick is asked again
_BOOT_SECONDS, _BOOT_PAUSE = 60.0, 5.0  # since it is there, and the longest pause until then
_OLD_SECONDS = (
    30.0  # a SIM may be changed under power: while one is missing, answers so old are asked for again
)
_LENT_SECONDS = 10.0  # a lane that was told a port opens it within this time
_ICCID_DIGITS = 18  # without its check digit, which some sticks leave out (ITU-T E.118: 19 digits with it)
_BUSY = ("port_busy", "port_denied")  # of no use to ask the stick's other ports then
_NO_MODEM = (
    (
        "modem",
        "stick_without_port",
        "shows no serial port: it was plugged in just now, still plays a CD-ROM (apt-get install usb-modeswitch), "
        "or its driver is missing (modprobe option)",
    ),
    (
        "storage",
        "stick_in_storage_mode",
        "still plays a CD-ROM: apt-get install usb-modeswitch, and plug it in again",
    ),
    (
        "network",
        "stick_hilink",
        "is a network card and has no port for SMS: put a modem firmware on it, or use another stick",
    ),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a modem may be: a known stick, or a port that the operator listed. `key` changes when it is plugged in anew.

    `real` are its device files, as named here and as links lead to them.
    """

    key: tuple[str, str]
    devices: tuple[str, ...]
    real: frozenset[str]
    usb_path: str | None
    settled: bool

    @property
    def name(self) -> str:
        return self.usb_path or self.devices[0]


@dataclass(slots=True)
class _Answer:
    """What asking one place came to. `device` is the control port, once one answered; `error` why the SIM is not known."""

    real: frozenset[str]
    since: float
    asking: bool = False
    asked_at: float | None = None
    lent_at: float | None = None
    tries: int = 0
    device: str | None = None
    identity: Identity | None = None
    error: ModemError | None = None

    def has(self, iccid: str) -> bool:
        return self.identity is not None and same_iccid(iccid, self.identity.iccid)

    def tells(self, iccid: str) -> bool:
        return self.identity is not None and _digits(self.identity.iccid or "") == _digits(iccid)

    def due(self, now: float, *, settled: bool) -> bool:
        """Whether to ask now."""
        if self.asking or (self.lent_at is not None and now - self.lent_at < _LENT_SECONDS):
            return False
        if self.asked_at is None:
            return settled or now - self.since >= _SETTLE_SECONDS
        if self.identity is not None:
            return now - self.asked_at >= _OLD_SECONDS
        pause = _PAUSES[min(self.tries, len(_PAUSES)) - 1]
        return now - self.asked_at >= (min(pause, _BOOT_PAUSE) if now - self.since < _BOOT_SECONDS else pause)


class Finder:
    """Which port has which SIM; one for all lanes of a process, callable from any thread.

    identify: opens a port for a short time and says who is there, or raises ModemError; called in threads of the finder · listed:
    ports beside known sticks that may be asked, as device paths or pyserial URLs · clock: seconds, monotonic.
    """

    def __init__(
        self,
        identify: Callable[[str], Identity],
        *,
        root: Path = Path("/"),
        listed: Sequence[str] = (),
        clock: Callable[[], float],
    ) -> None:
        self._identify = identify
        self._root = root
        self._listed = tuple(listed)
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], _Answer] = {}
        self._learned: dict[tuple[str, str], int | None] = {}
        self._held: set[str] = set()
        self._queue: deque[tuple[_Place, _Answer]] = deque()
        self._running = 0
        self._next_start = 0.0
        self._there = _There()

    def port_for(self, *, iccid: str | None = None, usb: str | None = None) -> tuple[str, str | None]:
        """The control port that has this SIM, sits in this socket, or both, with its socket. Never waits: asks in the background.

        Raises ModemError: `probing` (call again in half a second), `stick_missing`, `stick_in_storage_mode`, `stick_hilink`,
        `stick_without_port`, `stick_unknown`, `sim_missing`, `ambiguous`, `port_busy`, or what the stick's ports said.
        """
        with self._lock:
            now = self._clock()
            self._look(now)
            places = [place for place in self._there.places if usb is None or place.usb_path == usb]
            if not places:
                raise _nothing(self._there.sticks, usb)
            if iccid is None:
                return self._only_one(places, now)
            return self._with_sim(places, iccid, now)

    def in_use(self, device: str) -> None:
        """A lane holds this port: its stick is left alone until `released`."""
        with self._lock:
            self._held.add(device)

    def released(self, device: str) -> None:
        """The lane let go, or could not open it. Another SIM may be in there by now, so it is asked before a SIM is looked for."""
        with self._lock:
            self._held.discard(device)
            for answer in self._answers.values():
                if {device, os.path.realpath(device)} & answer.real:
                    answer.identity = answer.asked_at = answer.lent_at = None

    def _only_one(self, places: list[_Place], now: float) -> tuple[str, str | None]:
        if len(places) > 1:
            raise ModemError(
                "ambiguous",
                f"{len(places)} modems are there, at {', '.join(place.name for place in places)}: "
                "say which one with iccid or usb in the lane's settings",
            )
        [place] = places
        answer = self._answers[place.key]
        if answer.device is None:
            self._ask(place, answer, now)
            self._start(now)
        elif not answer.asking:
            answer.lent_at = now
            return answer.device, place.usb_path
        if answer.error is None and not answer.asking and place.real & self._held_files():
            raise ModemError("port_busy", f"another lane holds the stick at {place.name}", retryable=True)
        if answer.error is None or answer.asking:
            raise _probing()
        raise answer.error

    def _with_sim(self, places: list[_Place], iccid: str, now: float) -> tuple[str, str | None]:
        answers = [self._answers[place.key] for place in places]
        having = [(p, a) for p, a in zip(places, answers, strict=True) if a.tells(iccid)]
        match having:
            case [(place, _Answer(device=str(device), asking=False) as answer)]:
                answer.lent_at = now
                return device, place.usb_path
        for _, answer in having if len(having) > 1 else ():  # it moved: one of them was told before
            if answer.asked_at is not None and now - answer.asked_at >= _PAUSES[0]:
                answer.asked_at = None
        for place, answer in zip(places, answers, strict=True):
            self._ask(place, answer, now)
        self._start(now)
        held = self._held_files()
        for place, answer in zip(places, answers, strict=True):
            if answer.asking or (answer.asked_at is None and not place.real & held):
                raise _probing()
        # In other digits it is told only where nobody tells it in these.
        having = having or [(p, a) for p, a in zip(places, answers, strict=True) if a.has(iccid)]
        match having:
            case [(place, _Answer(device=str(device)) as answer)]:
                answer.lent_at = now
                return device, place.usb_path
        if having:
            raise ModemError(
                "ambiguous",
                f"{len(having)} modems say that they have this SIM, at {', '.join(place.name for place, _ in having)}: "
                "bind the lane to a socket with usb",
                retryable=True,
            )
        raise _sim_missing(answers, self._there.sticks)

    # -- what is there --

    def _look(self, now: float) -> None:
        """Bring sticks, places and answers up to date with sysfs; a plugging in is seen by its device number."""
        there = self._there
        if there.looked_at is not None and 0 <= now - there.looked_at < _SCAN_SECONDS:
            return
        there.looked_at = now
        seen = glance(self._root)
        if seen != there.seen:
            there.seen = seen
            there.sticks = sticks(self._root)
            there.known = [_stick_place(stick, self._learned) for stick in there.sticks if _is_modem(stick)]
        there.places = [*there.known, *self._listed_places()]
        kept: dict[tuple[str, str], _Answer] = {}
        for place in there.places:
            answer = self._answers.get(place.key)
            if answer is None or answer.real != place.real:
                answer = _Answer(place.real, now)
            kept[place.key] = answer
        self._answers = kept

    def _listed_places(self) -> Iterator[_Place]:
        ports = (
            {os.path.realpath(port.device): stick for stick in self._there.sticks for port in stick.ports}
            if self._listed
            else {}
        )
        for url in self._listed:
            if "://" in url:
                yield _Place((url, ""), (url,), frozenset({url}), None, True)
                continue
            real = os.path.realpath(url)
            stick = ports.get(real)
            if stick is not None and _is_modem(stick):
                continue  # that stick is asked as a whole
            try:
                node = os.stat(real)
            except OSError:
                continue
            key = url, f"{node.st_ino}.{node.st_rdev}"
            yield _Place(key, (url,), frozenset({url, real}), None if stick is None else stick.usb_path, True)

    def _held_files(self) -> set[str]:
        """The ports that lanes hold, and where links to them lead now: a link may have come after the lane."""
        return self._held | {os.path.realpath(device) for device in self._held}

    # -- asking --

    def _ask(self, place: _Place, answer: _Answer, now: float) -> None:
        """Queue a question to this place where it is due."""
        if answer.due(now, settled=place.settled):
            answer.asking = True
            self._queue.append((place, answer))

    def _start(self, now: float) -> None:
        """Start what is queued and no lane holds: few at a time, and none together."""
        held = self._held_files() if self._queue else set()
        while self._queue and self._running < _TOGETHER:
            place, answer = self._queue.popleft()
            if place.real & held or self._answers.get(place.key) is not answer:
                answer.asking = False
                continue
            self._running += 1
            start = max(now, self._next_start)
            self._next_start = start + _STAGGER_SECONDS
            thread = threading.Timer(start - now, self._probe, (place, answer))
            thread.name, thread.daemon = f"probe {place.name}", True
            thread.start()

    def _probe(self, place: _Place, answer: _Answer) -> None:
        """Ask the ports, one after the other, until one answers AT."""
        device: str | None = None
        identity: Identity | None = None
        error: ModemError | None = None
        try:
            for one in place.devices:
                try:
                    identity = self._identify(one)
                    device, error = one, None
                    break
                except ModemError as refusal:
                    if refusal.blame == "sim":
                        device = one
                    if device is not None or refusal.code in _BUSY:
                        error = refusal
                        break
                    error = error or refusal
        except Exception:
            log.exception("asking the ports of %s failed", place.name)
            error = ModemError("probe_failed", f"asking the ports of {place.name} failed; the log says how")
        finally:
            with self._lock:
                now = self._clock()
                self._running -= 1
                answer.asking = False
                answer.asked_at = now
                answer.tries = 0 if identity is not None else answer.tries + 1
                answer.device, answer.identity, answer.error = device, identity, error
                if device is not None:
                    self._learn(place, device)
                self._start(now)

    def _learn(self, place: _Place, device: str) -> None:
        """The next stick of this kind is asked on the same interface first."""
        for stick in self._there.sticks:
            for port in stick.ports if stick.usb_path == place.usb_path else ():
                if port.device == device:
                    self._learned[stick.vendor, stick.product] = port.interface


@dataclass(slots=True)
class _There:
    """What was there at the last look."""

    looked_at: float | None = None
    seen: object = None
    sticks: list[Stick] = field(default_factory=list)
    known: list[_Place] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)


def _is_modem(stick: Stick) -> bool:
    return stick.known is not None and stick.known.mode == "modem" and bool(stick.ports)


def _stick_place(stick: Stick, learned: dict[tuple[str, str], int | None]) -> _Place:
    ports = _best_first(stick, learned.get((stick.vendor, stick.product)))
    devices = tuple(port.device for port in ports)
    control = stick.known.control if stick.known is not None else ()
    settled = ports[0].role == "at" or ports[0].interface in control
    real = frozenset(devices) | {os.path.realpath(device) for device in devices}
    return _Place((stick.usb_path, str(stick.devnum)), devices, real, stick.usb_path, settled)


def _best_first(stick: Stick, learned: int | None) -> list[UsbPort]:
    """Interfaces known as control, other AT ports, the one that such a stick answered on, unknown ones, and the rest."""
    control = stick.known.control if stick.known is not None else ()

    def rank(port: UsbPort) -> tuple[int, int]:
        if port.interface in control:
            return 0, control.index(port.interface)
        number = port.interface or 0
        if port.role == "at":
            return 1, number
        if port.interface is not None and port.interface == learned:
            return 2, number
        return {"modem": 3, None: 4}.get(port.role, 5), number

    return sorted(stick.ports, key=rank)


def same_iccid(one: str, other: str | None) -> bool:
    """Whether two readings name one SIM: with or without filler and check digit (ITU-T E.118, ETSI TS 102 221 §13.2)."""
    if other is None:
        return False
    one, other = _digits(one), _digits(other)
    return one == other or (
        min(len(one), len(other)) >= _ICCID_DIGITS and (one.startswith(other) or other.startswith(one))
    )


def _digits(iccid: str) -> str:
    return iccid.strip().upper().rstrip("F")


# -- sentences ----------------------------------------------------------------------------------------------------------


def _probing() -> ModemError:
    return ModemError("probing", "the sticks are being asked which SIM they have", retryable=True)


def _nothing(there: Sequence[Stick], usb: str | None) -> ModemError:
    """Why no place can be asked: what is seen in that socket, or anywhere."""
    seen = [stick for stick in there if usb is None or stick.usb_path == usb]
    for mode, code, text in _NO_MODEM:
        for stick in seen:
            if stick.known is not None and stick.known.mode == mode:
                name = f"{stick.known.name} ({stick.vendor}:{stick.product}) at {stick.usb_path}"
                return ModemError(code, f"{name} {text}", retryable=True)
    if usb is not None and seen:
        return ModemError(
            "stick_unknown",
            f"the device at {usb} ({seen[0].vendor}:{seen[0].product}) is not known to be a modem, so nothing is said to it: "
            f'if it is one, write port = "{seen[0].ports[0].device}" for the lane',
            retryable=True,
        )
    where = (
        "no GSM stick is plugged in"
        if usb is None
        else f"nothing that could be a modem is plugged in at {usb}"
    )
    return ModemError("stick_missing", f"{where}: plug it in; lsusb shows what the host sees", retryable=True)


def _sim_missing(answers: Sequence[_Answer], there: Sequence[Stick]) -> ModemError:
    detail = f"the SIM of this lane is in none of the modems that are there ({len(answers)})"
    untold = sorted({answer.error.code for answer in answers if answer.error is not None})
    if untold:
        detail += f"; some could not tell theirs ({', '.join(untold)}): usb binds a lane to a socket instead"
    waiting = [s.usb_path for s in there if s.known is not None and s.known.mode == "storage"]
    if waiting:
        detail += f"; the one at {', '.join(waiting)} is still in storage mode"
    return ModemError("sim_missing", detail, blame="sim", retryable=True)


# -- power --------------------------------------------------------------------------------------------------------------


def power_cycle(usb_path: str, root: Path = Path("/"), *, off: timedelta = timedelta(seconds=2)) -> bool:
    """Take the power of one socket away for `off` and give it back, or at least let the kernel drop the stick; blocks so long.

    By the hub port's `disable` (Linux 6.0, sysfs-bus-usb), else the device's `authorized`. False where the system does not let us.
    """
    hub, _, port = usb_path.rpartition("." if "." in usb_path else "-")
    folder = root / SYSFS
    if "." in usb_path:
        switch = folder / f"{hub}:1.0" / f"{hub}-port{port}" / "disable"
    else:
        switch = folder / f"{hub}-0:1.0" / f"usb{hub}-port{port}" / "disable"
    return _switched(switch, b"1", b"0", off) or _switched(folder / usb_path / "authorized", b"0", b"1", off)


def _switched(path: Path, away: bytes, back: bytes, off: timedelta) -> bool:
    if not _written(path, away):
        return False
    threading.Event().wait(off.total_seconds())
    return _written(path, back)


def _written(path: Path, value: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        return os.write(descriptor, value) == len(value)
    except OSError:
        return False
    finally:
        os.close(descriptor)
