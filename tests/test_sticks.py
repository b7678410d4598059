"""What sysfs shows of sticks, in a folder that stands for the host, and what the table of known sticks may say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from modem.sticks import glance, known_sticks, read_sticks, sticks
from tests.host_folder import HostFolder

HUAWEI = ("12d1", "1003")
QUECTEL = ("2c7c", "0125")


@pytest.fixture
def host(tmp_path: Path) -> HostFolder:
    return HostFolder(tmp_path)


def test_a_host_without_usb_has_no_sticks(tmp_path: Path) -> None:
    assert sticks(tmp_path) == []


def test_a_stick_is_told_by_its_socket_ids_texts_and_ports(host: HostFolder) -> None:
    host.stick(
        "1-1.2",
        *QUECTEL,
        ports={3: None, 0: None, 2: None},
        serial="abc",
        manufacturer="Quectel",
        product_name="EC25",
    )
    [stick] = sticks(host.root)
    assert (stick.usb_path, stick.vendor, stick.product) == ("1-1.2", "2c7c", "0125")
    assert (stick.serial, stick.maker, stick.name) == ("abc", "Quectel", "EC25")
    assert [(Path(p.device).name, p.interface, p.driver, p.role) for p in stick.ports] == [
        ("ttyUSB0", 0, "option", "diag"),
        ("ttyUSB1", 2, "option", "at"),
        ("ttyUSB2", 3, "option", "modem"),
    ]
    assert all(Path(port.device).parent == host.root / "dev" for port in stick.ports)
    assert stick.known is not None
    assert stick.known.mode == "modem"


def test_texts_that_a_stick_does_not_have_are_absent(host: HostFolder) -> None:
    host.stick("1-1", *HUAWEI, ports={0: None}, serial="")
    [stick] = sticks(host.root)
    assert (stick.serial, stick.maker, stick.name) == (None, None, None)


def test_a_port_of_the_modem_class_is_seen_too(host: HostFolder) -> None:
    host.stick("2-1", "1546", "1102", ports={0: None, 2: None}, tty="ttyACM", driver="cdc_acm")
    [stick] = sticks(host.root)
    assert [(Path(p.device).name, p.interface, p.driver) for p in stick.ports] == [
        ("ttyACM0", 0, "cdc_acm"),
        ("ttyACM1", 2, "cdc_acm"),
    ]


def test_interfaces_of_a_maker_that_numbers_them_freely_are_told_by_their_protocol(host: HostFolder) -> None:
    host.stick("1-1", "12d1", "1506", ports={0: None, 1: None, 2: None}, kinds={0: "ff/02/01", 2: "ff/02/02"})
    [stick] = sticks(host.root)
    assert [port.role for port in stick.ports] == ["modem", None, "at"]


def test_what_is_neither_known_nor_serial_is_no_stick(host: HostFolder) -> None:
    host.stick("1-1", "046d", "c52b")
    host.stick("1-2", "1a86", "7523", ports={0: None}, driver="ch341")
    host.stick("1-3", "12d1", "1446")
    host.stick("1-4", "12d1", "14db", nets={0: "eth1"})
    known = {stick.usb_path: stick.known and stick.known.mode for stick in sticks(host.root)}
    assert known == {"1-2": None, "1-3": "storage", "1-4": "network"}


def test_sticks_come_in_the_order_of_their_sockets(host: HostFolder) -> None:
    for usb_path in ("1-1.10", "2-1", "1-1.2", "1-1"):
        host.stick(usb_path, *HUAWEI, ports={0: None})
    assert [stick.usb_path for stick in sticks(host.root)] == ["1-1", "1-1.2", "1-1.10", "2-1"]


def test_a_stick_that_vanishes_while_it_is_read_is_left_out(host: HostFolder) -> None:
    host.stick("1-1", *HUAWEI, ports={0: None})
    (host.root / "sys/bus/usb/devices/1-9").symlink_to("gone")
    assert [stick.usb_path for stick in sticks(host.root)] == ["1-1"]


def test_a_glance_changes_with_what_is_plugged_bound_or_plugged_in_anew_and_with_nothing_else(
    host: HostFolder,
) -> None:
    host.stick("1-1", *QUECTEL, ports={0: None})
    seen = [glance(host.root)]
    host.attribute("1-1", "power/runtime_status", "suspended")
    assert glance(host.root) == seen[0]
    host.stick("1-2", *QUECTEL, ports={0: None})
    seen.append(glance(host.root))
    host.unplug("1-2")
    host.stick("1-2", *QUECTEL, ports={0: None})
    seen.append(glance(host.root))
    host.unplug("1-2")
    host.stick("1-2", *QUECTEL, ports={0: None}, tty="ttyACM", devnum=4)
    seen.append(glance(host.root))
    assert all(one != other for number, one in enumerate(seen) for other in seen[:number])


# -- what is known ----------------------------------------------------------------------------------------------------------


def test_the_udev_rule_names_exactly_the_sticks_that_are_modems() -> None:
    """An id that is in one of the two files only is added to the other, or struck out."""
    text = (Path(__file__).parent.parent / "deploy" / "77-bpjs-sms.rules").read_text()
    rule = r'ATTRS\{idVendor\}=="(\w{4})", ATTRS\{idProduct\}=="([\w|]+)", ENV\{ID_MM_DEVICE_IGNORE\}="1"'
    found = re.findall(rule, text)
    assert len(found) == text.count("idVendor")
    named = [f"{vendor}:{product}" for vendor, products in found for product in products.split("|")]
    assert len(named) == len(set(named))
    modems = {f"{s.vendor}:{s.product}" for s in known_sticks().sticks.values() if s.mode == "modem"}
    assert set(named) == modems


def test_known_control_interfaces_have_no_role_that_takes_no_commands() -> None:
    for stick in known_sticks().sticks.values():
        assert stick.source
        assert stick.mode == "modem" or not (stick.control or stick.ports)
        assert not {stick.ports.get(number) for number in stick.control} & {"diag", "gps"}, stick
        if "at" in stick.ports.values():
            assert stick.ports[stick.control[0]] == "at", stick


def test_no_bridge_behind_which_anything_may_be_is_known() -> None:
    bridges = {("1a86", "7523"), ("10c4", "ea60"), ("0403", "6001"), ("067b", "2303")}
    assert not bridges & set(known_sticks().sticks)


STICK = 'vendor = "12d1"\nproducts = ["1001"]\nname = "x"\nmode = "modem"\nsource = "x"\n'


@pytest.mark.parametrize(
    "text",
    [
        f"[[stick]]\n{STICK}[[stick]]\n{STICK}",
        "[[stick]]\n" + STICK.replace('"modem"', '"toaster"'),
        "[[stick]]\n" + STICK.replace("12d1", "12D1"),
        "[[stick]]\n" + STICK.replace("1001", "101"),
        "[[stick]]\n" + STICK.replace("1001", "wxyz"),
        "[[stick]]\n" + STICK.replace('source = "x"', 'source = ""'),
        "[[stick]]\n" + STICK.replace('name = "x"\n', ""),
        "[[stick]]\n" + STICK.replace("products", "product"),
        f"[[stick]]\n{STICK}colour = 1\n",
        f"[[stick]]\n{STICK}control = 2\n",
        f'[[stick]]\n{STICK}control = ["2"]\n',
        f'[[stick]]\n{STICK}ports = {{ 1 = "fax" }}\n',
        f'[[stick]]\n{STICK}ports = {{ one = "at" }}\n',
        '[[interface]]\nvendor = "12d1"\nsubclass = "01"\nprotocol = "02"\nrole = "fax"\nsource = "x"\n',
        '[[interface]]\nvendor = "12d1"\nrole = "at"\nsource = "x"\n',
        "[[sticks]]\n",
        "stick = 1\n",
    ],
)
def test_a_table_of_sticks_with_a_mistake_is_refused(text: str) -> None:
    assert read_sticks(f"[[stick]]\n{STICK}").sticks["12d1", "1001"].name == "x"
    with pytest.raises(ValueError, match=r"\w"):
        read_sticks(text)
