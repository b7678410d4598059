"""Text mode of the simulated dongle: its character sets, and how it shows a PDU (3GPP TS 27.005 §3.1, §3.4.1 to §3.4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from modem.alphabet import BASIC
from modem.pdu import OCTETS, UCS2, Deliver, PduError, StatusReport, StoredSubmit, alphabet_of, decode
from modem.simulated.composing import first_octet, validity_shown
from modem.simulated.grammar import cms
from modem.simulated.sim import Slot

if TYPE_CHECKING:
    from modem.simulated.channel import Channel

_WIB = timezone(timedelta(hours=7))


def coded(channel: Channel, text: str, *, address: bool = False) -> str:
    """A text as +CSCS wants it on the line; an address is never in hex but with UCS2."""
    charset = channel.profile.charset
    if address and charset == "HEX":
        charset = "GSM"
    if charset == "UCS2":
        return text.encode("utf-16-be", "replace").hex().upper()
    if charset in ("GSM", "HEX"):
        line = "".join(chr(BASIC.index(char)) if char in BASIC else "?" for char in text)
        return line.encode("latin-1").hex().upper() if charset == "HEX" else line
    return text.encode("ascii" if charset == "IRA" else "latin-1", "replace").decode("latin-1")


def plain(channel: Channel, line: str, *, address: bool = False) -> str:
    """What the host meant by a text or an address of +CSCS. Raises Refused for what is none."""
    charset = channel.profile.charset
    if address and charset == "HEX":
        charset = "GSM"
    try:
        if charset == "UCS2":
            return bytes.fromhex(line).decode("utf-16-be")
        if charset == "HEX":
            line = bytes.fromhex(line).decode("latin-1")
    except ValueError:
        raise cms(305) from None
    if charset in ("GSM", "HEX"):
        return "".join(BASIC[ord(char)] if ord(char) < 128 else "?" for char in line)
    return line


def address_of(channel: Channel, values: Sequence[str]) -> str:
    """An address that may be followed by its type, of which 145 means international (3GPP TS 27.005 §3.1 <toda>)."""
    number_ = plain(channel, values[0], address=True)
    return f"+{number_}" if values[1:2] == ("145",) and number_.isdigit() else number_


def stamp(at: datetime | None) -> str:
    """A time as 3GPP TS 27.005 §3.1 <scts> has it, in western Indonesian time."""
    if at is None:
        return ""
    return at.astimezone(_WIB).strftime("%y/%m/%d,%H:%M:%S+28")  # quarters of an hour


def type_of(number_: str) -> int:
    """The type-of-address octet: international, unknown, or alphanumeric (3GPP TS 24.011 §8.2.5.2)."""
    return 145 if number_.startswith("+") else 129 if number_.isdigit() else 208


def _body(channel: Channel, found: Deliver | StoredSubmit) -> str:
    """The text; UCS2 and 8-bit data in hex, whatever +CSCS says (3GPP TS 27.005 §3.1 <data>)."""
    if alphabet_of(found.dcs) == OCTETS:
        return found.data.hex().upper()
    if alphabet_of(found.dcs) == UCS2:
        return found.text.encode("utf-16-be", "replace").hex().upper()
    return coded(channel, found.text)


def head_of(channel: Channel, slot: Slot, *, listed: bool) -> tuple[str, str | None]:
    """The fields and the text of a stored PDU, for the text mode forms of +CMGL (`listed`), +CMGR and +CMT.

    A status report has no text, and None here; an empty text is a line all the same.
    """
    try:
        found = decode(slot.pdu, outgoing=slot.stat >= 2)
    except PduError:
        return '"",,', ""
    shown, first = channel.profile.show_headers, first_octet(slot.pdu)
    if isinstance(found, StatusReport):
        address, times = (
            coded(channel, found.address, address=True),
            f'"{stamp(found.service_centre_time)}","{stamp(found.discharge_time)}"',
        )
        return f'{first},{found.reference},"{address}",{type_of(found.address)},{times},{found.status}', None
    body = _body(channel, found)
    alpha = channel.dongle.personality.unnamed
    centre = found.centre or channel.dongle.sim.centre
    length = len(found.data if alphabet_of(found.dcs) == OCTETS else found.text)
    behind = f',"{coded(channel, centre, address=True)}",{type_of(centre)},{length}'
    if isinstance(found, Deliver):
        head = f'"{coded(channel, found.sender, address=True)}",{alpha},"{stamp(found.service_centre_time)}"'
        if shown and listed:
            head += f",{type_of(found.sender)},{length}"
        elif shown:
            head += f",{type_of(found.sender)},{first},{found.pid},{found.dcs}{behind}"
        return head, body
    head = f'"{coded(channel, found.address, address=True)}",{alpha}'
    if listed:
        head += ","  # the place of <scts>, which a SUBMIT has none of
    if shown and listed:
        head += f",{type_of(found.address)},{length}"
    elif shown:
        head += (
            f",{type_of(found.address)},{first},{found.pid},{found.dcs},{validity_shown(slot.pdu)}{behind}"
        )
    return head, body


def direct(channel: Channel, pdu: str, report: bool) -> str:
    """+CMT or +CDS with what follows it (3GPP TS 27.005 §3.4.1)."""
    slot, alpha = Slot(pdu, 0), channel.dongle.personality.unnamed
    if not channel.profile.text_mode:
        head = f"+CDS: {slot.length}" if report else f"+CMT: {alpha},{slot.length}"
        return f"{head}\r\n{pdu}"
    head, body = head_of(channel, slot, listed=False)
    return f"+CDS: {head}" if report else f"+CMT: {head}\r\n{body}"
