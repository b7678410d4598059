"""What is wrong between the stick and this program, from /sys, /dev, /proc and /run alone: no port is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modem.discovery import Stick, UsbPort, sticks
from modem.doctor.findings import Finding
from modem.doctor.surroundings import kernel_findings, surrounding, text_of
from modem.doctor.texts import Both, fault, few, joined, said, stick_named, warning

_RULES = ("etc/udev/rules.d", "run/udev/rules.d", "lib/udev/rules.d", "usr/lib/udev/rules.d")
_IGNORED = re.compile(r"^E:ID_MM_(?:DEVICE|PORT)_IGNORE=1$", re.MULTILINE)
_IGNORE, _OPEN, _AWAKE = (
    'ENV{ID_MM_DEVICE_IGNORE}="1"',
    'GROUP="dialout", MODE="0660"',
    'ATTR{power/control}="on"',
)  # what a udev rule does (udev(7); ModemManager's documentation of its udev tags)
_SELF_POWERED = 0x40  # bmAttributes, USB 2.0 §9.6.3


@dataclass(frozen=True, slots=True)
class Held:
    """A port that a process has open. `program` is empty where /proc does not name it."""

    device: str
    pid: int
    program: str


@dataclass(frozen=True, slots=True)
class _Port:
    """A port that may be used: of a known stick, or named in the settings. `name` is as the operator would write it."""

    name: str
    file: Path
    stick: Stick | None


def _rule(stick: Stick | None, purpose: str, what: str, name: str = "") -> str:
    """The command that makes a udev rule for this stick's ids, or for one port, in a file of its own for each purpose."""
    ids = f"{stick.vendor}-{stick.product}" if stick else name
    match = (
        f'ATTRS{{idVendor}}=="{stick.vendor}", ATTRS{{idProduct}}=="{stick.product}"'
        if stick
        else f'KERNEL=="{name}"'
    )
    return (
        f"echo '{match}, {what}' | sudo tee /etc/udev/rules.d/77-bpjs-sms-{ids}-{purpose}.rules && "
        "sudo udevadm control --reload && sudo udevadm trigger"
    )


def _keep_away(stick: Stick | None) -> Both:
    if stick is None:
        return said("words.end_it")
    return said("words.keep_away", rule=_rule(stick, "alone", _IGNORE))


def control_port(stick: Stick) -> UsbPort | None:
    """The port of a stick that most likely takes commands, by what is known of it; None where it has no port."""
    known = stick.known.control if stick.known is not None else ()
    by_number = {port.interface: port for port in stick.ports}
    for number in known:
        if number in by_number:
            return by_number[number]
    for role in ("at", "modem", None):
        for port in stick.ports:
            if port.role == role:
                return port
    return None


def shown(stick: Stick) -> Both:
    """A stick in a few words: what it calls itself, its USB ids and its socket."""
    own = " ".join(filter(None, (stick.maker, stick.name))) or said("about.device")
    return said(
        "about.stick",
        name=stick_named(stick.known.name) if stick.known else own,
        ids=f"{stick.vendor}:{stick.product}",
        socket=stick.usb_path,
    )


def host_findings(
    root: Path = Path("/"),
    *,
    listed: Sequence[str] = (),
    uid: int = 0,
    groups: Collection[int] = (),
    ours: Collection[int] = (),
    kernel_log: str = "",
    needed: bool = True,
) -> list[Finding]:
    """Every finding about sticks, ports and power.

    listed: ports that the settings name, as paths · uid, groups: who will open the ports · ours: processes of the gateway, whose
    open ports are no fault · kernel_log: what `dmesg` says ·
    needed: a stick must be there, or a port that is listed; False where the lanes are reached over a network.
    """
    plugged = sticks(root)
    return [
        *_presence(root, plugged, listed, needed),
        *_rights(root, plugged, listed, uid, groups),
        *_holders(root, plugged, listed, ours),
        *_power(root, plugged),
        *kernel_findings(kernel_log),
    ]


def held_ports(root: Path, files: Sequence[str]) -> list[Held]:
    """Who has one of these device files open, as far as /proc shows it to this user; of what is no serial port nobody."""
    files = [file for file in files if _is_serial(root, Path(file))]
    names = {_inside(root, Path(file)): file for file in files}
    real = {os.path.realpath(file): file for file in files}
    # A pty's other end belongs to whoever plays the port, and that one has it open rightly.
    names |= {path: file for path, file in real.items() if not path.startswith("/dev/pts/")}
    found = set()
    for process in _processes(root):
        try:
            handles = list((process / "fd").iterdir())
        except OSError:
            continue
        for handle in handles:
            try:
                target = os.readlink(handle)
            except OSError:
                continue
            if target in names:
                found.add((names[target], int(process.name), text_of(process / "comm").strip()))
    return [Held(*one) for one in sorted(found)]


# -- what is there ------------------------------------------------------------------------------------------------


def _presence(root: Path, plugged: Sequence[Stick], listed: Sequence[str], needed: bool) -> Iterator[Finding]:
    place = surrounding(root)
    known = [stick for stick in plugged if stick.known is not None]
    there = [port for port in listed if _file(root, port).exists()]
    if not known and not there and needed:
        yield _no_stick(place, [stick for stick in plugged if stick.known is None], listed)
        return
    for stick in known:
        yield from _mode(root, stick, place)
    for port in listed:
        if port not in there:
            options = [p.device for s in known for p in ([control_port(s)] if control_port(s) else []) if p]
            plain = joined([_plain(root, option) for option in options])
            yield fault("port_missing", port, port=port, options=plain if options else said("words.none"))
    for stick in plugged:
        for usb_port in stick.ports:
            name = next((port for port in there if _same(_file(root, port), Path(usb_port.device))), None)
            if name is not None and usb_port.role in ("diag", "gps"):
                right = control_port(stick)
                yield fault(
                    "wrong_port.diagnostics" if usb_port.role == "diag" else "wrong_port.positions",
                    name,
                    name=name,
                    interface=usb_port.interface,
                    stick=shown(stick),
                    port=_plain(root, right.device) if right else "…",
                )


def _no_stick(place: str | None, strangers: Sequence[Stick], listed: Sequence[str]) -> Finding:
    if strangers:
        ports = [Path(port.device).name for stick in strangers for port in stick.ports]
        return fault("unlisted_serial_port", shown(strangers[0]), ports=joined(ports), first=ports[0])
    return fault(
        "no_stick" if place is None else f"no_stick_in_{place}",
        "USB",
        named=said("words.named", ports=few(listed, 4)) if listed else "",
        into_container=said("words.into_container"),
    )


def _mode(root: Path, stick: Stick, place: str | None) -> Iterator[Finding]:
    assert stick.known is not None
    about, ids, source = shown(stick), f"{stick.vendor}:{stick.product}", stick.known.source
    if stick.known.mode == "storage":
        switch = f"sudo usb_modeswitch -v {stick.vendor} -p {stick.product}" + (
            " -J" if stick.vendor == "12d1" else " -K"
        )
        yield fault("storage_mode", about, ids=ids, source=source, switch=switch)
    elif stick.known.mode == "network":
        cards = [path.name for path in (root / "sys/bus/usb/devices").glob(f"{stick.usb_path}:*/net/*")]
        card = said("words.network_card", card=cards[0]) if cards else ""
        yield fault("hilink", about, ids=ids, source=source, card=card)
    elif not stick.ports:
        yield fault("no_driver", about, socket=stick.usb_path, vendor=stick.vendor, product=stick.product)
    else:
        missing = [Path(port.device).name for port in stick.ports if not os.path.lexists(port.device)]
        if missing:
            yield fault(
                "device_missing.in_container" if place == "container" else "device_missing",
                about,
                ports=joined(missing),
                into_container=said("words.into_container"),
            )


# -- who may open it, and who has it open -------------------------------------------------------------------------


def _ports(root: Path, plugged: Sequence[Stick], listed: Sequence[str]) -> list[_Port]:
    ports = [
        _Port(_plain(root, usb.device), Path(usb.device), stick)
        for stick in plugged
        for usb in stick.ports
        if stick.known is not None
    ]
    for name in listed:
        file = _file(root, name)
        if file.exists() and not any(_same(file, port.file) for port in ports):
            ports.append(_Port(name, file, None))
    return ports


def _rights(
    root: Path, plugged: Sequence[Stick], listed: Sequence[str], uid: int, groups: Collection[int]
) -> Iterator[Finding]:
    if uid == 0:
        return
    closed: dict[tuple[int, int, str], tuple[list[str], list[str | Both], os.stat_result, Stick | None]] = {}
    for port in _ports(root, plugged, listed):
        try:
            stat = port.file.stat()
        except OSError:
            continue
        if not _may_open(stat, uid, groups):
            # What one command mends is one finding, whatever the number of sticks.
            joins = stat.st_mode & 0o060 == 0o060
            kind = (f"{port.stick.vendor}:{port.stick.product}" if port.stick else port.name) * (not joins)
            names, about, _, _ = closed.setdefault(
                (stat.st_gid, stat.st_mode & 0o777, kind), ([], [], stat, port.stick)
            )
            names.append(port.name)
            about.append(shown(port.stick) if port.stick else port.name)
    for names, sticks_there, stat, stick in closed.values():
        file = os.path.realpath(_file(root, names[0]))
        if stat.st_mode & 0o060 == 0o060:
            text = "no_permission.group"
        elif stick is None and file.startswith("/dev/pts/"):
            text = "no_permission.pty"
        else:
            text = "no_permission"
        yield fault(
            text,
            few(list(dict.fromkeys(sticks_there)), 2),
            ports=few(names, 6),
            group=_group(root, stat.st_gid),
            mode=f"{stat.st_mode & 0o777:04o}",
            uid=uid,
            rule=_rule(stick, "group", _OPEN, os.path.basename(file)),
        )


def _may_open(stat: os.stat_result, uid: int, groups: Collection[int]) -> bool:
    if stat.st_uid == uid:
        wanted = 0o600
    elif stat.st_gid in groups:
        wanted = 0o060
    else:
        wanted = 0o006
    return stat.st_mode & wanted == wanted


def _group(root: Path, gid: int) -> str:
    for line in text_of(root / "etc/group").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[2] == str(gid):
            return fields[0]
    return str(gid)


def _holders(
    root: Path, plugged: Sequence[Stick], listed: Sequence[str], ours: Collection[int]
) -> Iterator[Finding]:
    ports = _ports(root, plugged, listed)
    if not ports:
        return
    by_file = {str(port.file): port for port in ports}
    holding: set[str] = set()
    for held in held_ports(root, list(by_file)):
        if held.pid in ours:
            continue
        holding.add(held.program)
        yield held_finding(by_file[held.device].name, held, by_file[held.device].stick)
    running = {text_of(process / "comm").strip() for process in _processes(root)}
    left = [stick for stick in plugged if stick.known and stick.ports and not _mm_ignores(root, stick)]
    by_ids = {(stick.vendor, stick.product): stick for stick in reversed(left)}
    for stick in by_ids.values() if "ModemManager" in running - holding else ():
        yield warning("modemmanager_probes", shown(stick), keep_away=_keep_away(stick))


def held_finding(name: str, held: Held, stick: Stick | None) -> Finding:
    """That another program has the port `name` open, and how to end that."""
    text = {"ModemManager": "port_held_by_modemmanager", "brltty": "brltty"}.get(held.program, "port_held")
    program = held.program or said("words.a_program")
    return fault(
        text,
        name,
        port=name,
        program=program,
        pid=held.pid,
        held=said("words.held", pid=held.pid, program=program),
        keep_away=_keep_away(stick),
    )


def wrong_port_finding(name: str, other: str, stick: Stick) -> Finding:
    """That the port `name` of a stick is silent, and `other` takes its commands."""
    return fault("wrong_port.silent", name, name=name, port=other, stick=shown(stick), socket=stick.usb_path)


def _mm_ignores(root: Path, stick: Stick) -> bool:
    """True if udev says that ModemManager passes this stick over, by its database or, where that is not there, by a rule's text."""
    devices = [root / "sys/bus/usb/devices" / stick.usb_path / "dev"]
    devices += [root / "sys/class/tty" / Path(port.device).name / "dev" for port in stick.ports]
    numbers = [text_of(file).strip() for file in devices]
    data = [text_of(root / f"run/udev/data/c{number}") for number in numbers if number]
    if any(data):
        return any(_IGNORED.search(text) for text in data)
    return any(
        "ID_MM_DEVICE_IGNORE" in text and stick.vendor in text
        for folder in _RULES
        for text in map(text_of, sorted((root / folder).glob("*.rules")))
    )


# -- power --------------------------------------------------------------------------------------------------------


def _power(root: Path, plugged: Sequence[Stick]) -> Iterator[Finding]:
    for stick in plugged:
        if stick.known is None or stick.known.mode != "modem":
            continue
        device = root / "sys/bus/usb/devices" / stick.usb_path
        if text_of(device / "power/control").strip() == "auto":
            state = text_of(device / "power/runtime_status").strip() or said("words.unknown")
            yield warning("autosuspend", shown(stick), state=state, rule=_rule(stick, "awake", _AWAKE))
        hub = device.parent / stick.usb_path.rpartition(".")[0] if "." in stick.usb_path else None
        attributes = text_of(hub / "bmAttributes").strip() if hub is not None else ""
        if re.fullmatch(r"[0-9a-f]{2}", attributes) and not int(attributes, 16) & _SELF_POWERED:
            above = stick.usb_path.rpartition(".")[0]
            yield warning("unpowered_hub", shown(stick), hub=above, attributes=attributes)


# -- paths --------------------------------------------------------------------------------------------------------


def _processes(root: Path) -> list[Path]:
    try:
        return [entry for entry in (root / "proc").iterdir() if entry.name.isdigit()]
    except OSError:
        return []


def _file(root: Path, name: str) -> Path:
    """The file below `root` that an absolute path names."""
    return root / name.lstrip("/")


def _is_serial(root: Path, file: Path) -> bool:
    """True for a tty of this host or a pty, and where sysfs does not tell."""
    real = os.path.realpath(file)
    ttys = root / "sys/class/tty"
    return real.startswith("/dev/pts/") or not ttys.is_dir() or (ttys / os.path.basename(real)).exists()


def _inside(root: Path, file: Path) -> str:
    """The path as a process on that host sees it."""
    return f"/{file.relative_to(root)}" if file.is_relative_to(root) else str(file)


def _plain(root: Path, device: str) -> str:
    return _inside(root, Path(device))


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
