"""Ports that the doctor asks itself, because no gateway holds them; and what it shows of every port."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.faces.cli.doctor_texts import said
from app.settings import LaneSettings
from app.store.diagnosis import LaneSeen
from modem import PortSettings, SerialModem
from modem.discovery import Stick
from modem.doctor import (
    BAUDS,
    Both,
    Finding,
    Held,
    PortFacts,
    control_port,
    examine_port,
    held_ports,
    port_findings,
    shown,
    wrong_port_finding,
)

_LOG_TAIL = 1_000_000  # bytes of a log file that are read
_BOOT = timedelta(seconds=20)  # a stick that is still starting is told so, rather than waited for
_ROLES = {"at": "control", "modem": "dialling", "diag": "diagnostics", "gps": "positions"}
_SAME: dict[str, tuple[str, ...]] = {
    "port_busy": ("port_held",),
    "no_permission": ("no_permission",),
    "port_missing": ("port_missing", "no_stick"),
}
"""What the host showed already, by what opening the port would show once more."""


@dataclass(frozen=True, slots=True)
class PortSeen:
    """One line of the table of ports."""

    port: str
    usb_path: str | None = None
    stick: Both | None = None
    role: str | None = None
    lane: str | None = None
    model: str | None = None
    operator: str | None = None
    signal: int | None = None
    imei: str | None = field(default=None, repr=False)

    def as_json(self, language: str) -> dict[str, Any]:
        names = ("port", "usb_path", "stick", "role", "lane", "model", "operator", "signal")
        return {name: getattr(self, name) for name in names} | {
            "stick": self.stick.told(language) if self.stick else None
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: `root` stands for `/`, and the kernel's log may be handed in."""

    root: Path = Path("/")
    log: str | None = None
    uid: int = field(default_factory=os.geteuid)
    groups: frozenset[int] = field(default_factory=lambda: frozenset({os.getegid(), *os.getgroups()}))

    def kernel_log(self) -> str | None:
        """What the kernel said since it started; None where this user may not read it."""
        if self.log is not None:
            return self.log
        try:
            said = subprocess.run(
                ["dmesg"], capture_output=True, text=True, errors="replace", timeout=5, check=False
            )
            if said.returncode == 0:
                return said.stdout
        except (OSError, subprocess.TimeoutExpired):
            pass  # then the files
        for name in ("var/log/kern.log", "var/log/messages", "var/log/syslog"):
            try:
                with (self.root / name).open("rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL))
                    return file.read().decode("utf-8", "replace")
            except OSError:
                continue
        return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking one port: the port that answered at last, its facts, what was found, and how it can be opened again."""

    port: str
    facts: PortFacts
    findings: list[Finding]
    settings: PortSettings


def news(found: Iterable[Finding], told: Iterable[Finding]) -> list[Finding]:
    """The findings that the host's own do not tell already."""
    codes = [finding.code for finding in told]
    return [f for f in found if not any(code.startswith(_SAME.get(f.code, ())) for code in codes)]


def holder(port: str, place: Place, ours: Collection[int]) -> Held | None:
    """Another program that has the port open, as far as /proc shows it; such a port is not asked: that would spoil its answers."""
    if not port.startswith("/"):
        return None
    found = held_ports(place.root, [str(place.root / port.lstrip("/"))])
    return next((held for held in found if held.pid not in ours), None)


def ask_port(
    lane: LaneSettings | None, port: str, stick: Stick | None, place: Place, ours: Collection[int] = ()
) -> Asked:
    """Open a port and ask; where a stick's port is silent, its other ports that nobody holds too. No PIN is offered."""
    settings = _settings(lane, port, place)
    serial = stick is None and port.startswith("/")  # a stick's ports have no speed
    facts = examine_port(settings, SerialModem, bauds=BAUDS if serial else (), clock=time.monotonic)
    facts = replace(facts, port=port)
    pin_given = lane is not None and (lane.pin or lane.pin_file) is not None
    found = port_findings(facts, pin_given=pin_given)
    if stick is None or not any(finding.code == "no_answer" for finding in found):
        return Asked(port, facts, found, settings)
    for usb in stick.ports:
        other = plain(usb.device, place)
        if usb.role in ("diag", "gps") or os.path.realpath(usb.device) == os.path.realpath(settings.url):
            continue
        if holder(other, place, ours) is not None:
            continue
        settings = _settings(lane, other, place)
        better = replace(examine_port(settings, SerialModem, clock=time.monotonic), port=other)
        if better.answers:
            found = port_findings(better, pin_given=pin_given)
            if lane is not None and lane.port != "auto":
                found.insert(0, wrong_port_finding(port, other, stick))
            return Asked(other, better, found, settings)
    return Asked(port, facts, found, settings)


def place_of(
    lane: LaneSettings, row: LaneSeen | None, plugged: Sequence[Stick], place: Place
) -> tuple[Stick | None, str | None]:
    """The stick of a lane, where it is one, and the port to ask."""
    if lane.port != "auto":
        real = os.path.realpath(place.root / lane.port.lstrip("/")) if lane.port.startswith("/") else None
        stick = next((s for s in plugged if any(os.path.realpath(p.device) == real for p in s.ports)), None)
        return stick, lane.port
    socket = lane.usb or (row.usb_path if row else None)
    stick = next((s for s in plugged if s.usb_path == socket), None)
    right = control_port(stick) if stick else None
    return stick, plain(right.device, place) if right else None


def _settings(lane: LaneSettings | None, port: str, place: Place) -> PortSettings:
    url = file_of(port, place)
    if lane is None:
        return PortSettings(url, boot_timeout=_BOOT)
    return PortSettings(
        url,
        lane.baud,
        flow_control=lane.flow_control,
        urcs=lane.urcs,
        boot_timeout=min(_BOOT, lane.boot_timeout),
    )


def seen_port(port: str, stick: Stick | None, lane: str | None, facts: PortFacts | None) -> PortSeen:
    role = None
    if stick is not None:
        role = next((p.role for p in stick.ports if Path(p.device).name == Path(port).name), None)
    control = facts is not None and bool(facts.answers)
    imei = (
        facts.imei if facts is not None and facts.line is not None else None
    )  # masked where a gateway told it
    return PortSeen(
        port=port,
        usb_path=stick.usb_path if stick else None,
        stick=shown(stick) if stick else None,
        role="control"
        if control
        else {"diag": "diagnostics", "gps": "positions", "at": "control", "modem": "dialling"}.get(
            role or ""
        ),
        lane=lane,
        model=facts.model if facts else None,
        operator=facts.operator if facts else None,
        signal=facts.signal if facts else None,
        imei=imei,
    )


def settings_for(
    stick: Stick, port: str, taken: Iterable[str], written: Sequence[str], language: str
) -> list[str]:
    """The lines of a lane for this stick, the same in both languages but for their comments."""
    used = {*taken, *(line.split('"')[1] for line in written if line.startswith("name = "))}
    name = next(name for number in range(1, 1000) if (name := f"lane-{number}") not in used)
    return [
        "[[lanes]]",
        f'name = "{name}"',
        'port = "auto"',
        f'usb = "{stick.usb_path}"    # {said("screen.by_socket", port=port).told(language)}',
        f"# {said('screen.by_sim').told(language)}",
        "",
    ]


def may_open(file: str) -> bool:
    return os.access(file, os.R_OK | os.W_OK)


def file_of(port: str, place: Place) -> str:
    """The URL to open: below `root` for a device file."""
    return str(place.root / port.lstrip("/")) if port.startswith("/") and place.root != Path("/") else port


def plain(device: str, place: Place) -> str:
    return f"/{Path(device).relative_to(place.root)}" if place.root != Path("/") else device
