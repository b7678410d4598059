"""Which USB sticks are plugged in, from sysfs alone, and what public sources say of their ids (`sticks.toml`)."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

SYSFS = "sys/bus/usb/devices"
_MODES = ("modem", "storage", "network")
_ROLES = ("at", "modem", "diag", "gps")
_ID = re.compile("[0-9a-f]{4}")
_TTYS = ("ttyUSB", "ttyACM")


@dataclass(frozen=True, slots=True)
class KnownStick:
    """What `sticks.toml` says of one USB id. `control` and the keys of `ports` are interface numbers."""

    vendor: str
    product: str
    name: str
    mode: str
    control: tuple[int, ...]
    ports: Mapping[int, str]
    source: str


@dataclass(frozen=True, slots=True)
class UsbPort:
    """One serial port of a stick: its device file, and the role that public sources give this interface."""

    device: str
    interface: int | None
    driver: str | None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Stick:
    """A USB device that is a known stick, or any other with a serial port (`known` is None: it is never spoken to).

    usb_path names the socket (`1-1.2`); devnum changes with each plugging in; maker, name and serial are what it says of itself.
    """

    usb_path: str
    devnum: int
    vendor: str
    product: str
    serial: str | None
    maker: str | None
    name: str | None
    ports: tuple[UsbPort, ...]
    known: KnownStick | None


@dataclass(frozen=True, slots=True)
class StickTable:
    """The content of `sticks.toml`: sticks by (vendor, product), roles by (vendor, subclass, protocol)."""

    sticks: Mapping[tuple[str, str], KnownStick]
    roles: Mapping[tuple[str, str, str], str]


def read_sticks(text: str) -> StickTable:
    """The table of a TOML text. Raises ValueError for an id that stands twice, or a key or word that is not known."""
    data = tomllib.loads(text)
    tables = {name: data.pop(name, []) for name in ("stick", "interface")}
    if data or not all(isinstance(item, dict) for table in tables.values() for item in _list(table)):
        raise ValueError("only tables [[stick]] and [[interface]] belong here")
    sticks: dict[tuple[str, str], KnownStick] = {}
    for stick in (stick for item in tables["stick"] for stick in _known(item)):
        if (stick.vendor, stick.product) in sticks:
            raise ValueError(f"{stick.vendor}:{stick.product} stands twice")
        sticks[stick.vendor, stick.product] = stick
    roles: dict[tuple[str, str, str], str] = {}
    for item in tables["interface"]:
        if set(item) != {"vendor", "subclass", "protocol", "role", "source"} or item["role"] not in _ROLES:
            raise ValueError(f"not an interface: {item}")
        roles[item["vendor"], item["subclass"], item["protocol"]] = item["role"]
    return StickTable(sticks, roles)


def _known(item: Mapping[str, object]) -> Iterator[KnownStick]:
    match item:
        case {
            "vendor": str(vendor),
            "products": [*products],
            "name": str(name),
            "mode": str(mode),
            "source": str(source),
            **more,
        }:
            control, ports = _list(more.pop("control", [])), more.pop("ports", {})
        case _:
            raise ValueError(f"a stick needs vendor, products, name, mode and source: {item}")
    if more or mode not in _MODES or not source:
        raise ValueError(f"not known in a stick: {more or mode or source}")
    if not isinstance(ports, dict) or not set(ports.values()) <= set(_ROLES):
        raise ValueError(f"ports is a table of {' '.join(_ROLES)}: {item}")
    if not all(isinstance(number, int) for number in control):
        raise ValueError(f"control is a list of interface numbers: {item}")
    roles = {int(number): str(role) for number, role in ports.items()}
    for product in products:
        if not all(_ID.fullmatch(str(text)) for text in (vendor, product)):
            raise ValueError(f"ids are four small hex digits: {vendor}:{product}")
        yield KnownStick(vendor, str(product), name, mode, tuple(control), roles, source)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return value


@cache
def known_sticks() -> StickTable:
    """What `sticks.toml` lists."""
    return read_sticks((files("modem") / "sticks.toml").read_text("utf-8"))


def sticks(root: Path = Path("/")) -> list[Stick]:
    """Every stick that `root`'s sysfs shows, by socket; no port is opened. Empty where there is no sysfs."""
    folder = root / SYSFS
    found = (
        _stick(folder / name, root) for name in sorted(_names(folder), key=_socket_order) if _is_device(name)
    )
    return [stick for stick in found if stick is not None]


def _stick(device: Path, root: Path) -> Stick | None:
    """None for what is no stick, and for one that vanishes while it is read."""
    vendor, product, devnum = (_text(device / name) for name in ("idVendor", "idProduct", "devnum"))
    if vendor is None or product is None or devnum is None:
        return None
    known = known_sticks().sticks.get((vendor, product))
    ports = tuple(_ports(device, vendor, known, root))
    if known is None and not ports:
        return None
    serial, maker, name = (_text(device / name) for name in ("serial", "manufacturer", "product"))
    return Stick(device.name, int(devnum), vendor, product, serial, maker, name, ports, known)


def _ports(device: Path, vendor: str, known: KnownStick | None, root: Path) -> Iterator[UsbPort]:
    for name in sorted(n for n in _names(device) if n.startswith(f"{device.name}:")):
        interface = device / name
        names = _names(interface)
        # usb-serial: 1-1:1.0/ttyUSB0; cdc_acm: 1-1:1.0/tty/ttyACM0
        ttys = [n for n in names if n.startswith("tty") and n != "tty"]
        ttys += _names(interface / "tty") if "tty" in names else []
        if not ttys:
            continue
        digits = _text(interface / "bInterfaceNumber")
        number = None if digits is None else int(digits, 16)
        role = known.ports.get(number) if known is not None and number is not None else None
        if role is None:
            kind = (_text(interface / "bInterfaceSubClass"), _text(interface / "bInterfaceProtocol"))
            role = known_sticks().roles.get((vendor, kind[0] or "", kind[1] or ""))
        for tty in sorted(ttys):
            yield UsbPort(str(root / "dev" / tty), number, _driver(interface), role)


def _driver(interface: Path) -> str | None:
    try:
        return os.path.basename(os.readlink(interface / "driver"))
    except OSError:
        return None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_device(name: str) -> bool:
    """`1-1.2` is a device, `1-1:1.0` an interface, `usb1` a root hub."""
    return ":" not in name and not name.startswith("usb")


def _socket_order(name: str) -> tuple[object, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in name.replace("-", ".").split("."))


def _text(path: Path) -> str | None:
    """An attribute of sysfs without its line end; None where it is missing, empty or gone."""
    try:
        return path.read_text("utf-8", "replace").strip() or None
    except OSError:
        return None


def glance(root: Path = Path("/")) -> object:
    """A value that differs once anything was plugged or bound: names, and the device numbers behind them; far cheaper than `sticks`."""
    folder = f"{root}/{SYSFS}"
    names = sorted(_names(Path(folder)))
    numbers = tuple(_small(f"{folder}/{name}/devnum") for name in names if _is_device(name))
    ttys = sorted(name for name in _names(root / "sys/class/tty") if name.startswith(_TTYS))
    return names, numbers, ttys


def _small(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 32)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
