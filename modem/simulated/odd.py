"""PDUs as they should not be, and what tells a class 0 message: made by changing octets of good ones (3GPP TS 23.040, 23.038)."""

from __future__ import annotations

from random import Random

JUNK = ("07", "0791261807000099F9FF", "0791261807000099F904", "00" * 20, "0791261807000099F904FF81")
"""Stored octets that are no TPDU: cut short, of a reserved type, of an address longer than the rest."""
_STAMP_OCTETS = 7


def message_class(pdu: str) -> int | None:
    """The message class of an SMS-DELIVER, None without one (3GPP TS 23.038 §4)."""
    octets = bytes.fromhex(pdu)
    at = _coding(octets)
    if at is None:
        return None
    return class_of(octets[at])


def class_of(coding: int) -> int | None:
    """The message class that a TP-DCS tells."""
    return coding & 3 if coding & 0xF0 == 0xF0 or coding & 0xD0 == 0x10 else None


def as_flash(pdu: str) -> str:
    """The same SMS-DELIVER in class 0, to be shown at once and not stored."""
    octets = bytearray.fromhex(pdu)
    at = _coding(octets)
    if at is not None:
        octets[at] |= 0x10
    return octets.hex().upper()


def with_stamp(pdu: str, stamp: bytes) -> str:
    """The same SMS-DELIVER with other octets where the centre's time stamp is."""
    octets = bytearray.fromhex(pdu)
    at = _coding(octets)
    if at is not None:
        octets[at + 1 : at + 1 + _STAMP_OCTETS] = stamp[:_STAMP_OCTETS].ljust(_STAMP_OCTETS, b"\0")
    return octets.hex().upper()


def with_bad_stamp(pdu: str, random: Random) -> str:
    """A month 19 and a day 47, or nibbles that are no digits."""
    return with_stamp(
        pdu, random.choice((b"\x62\x91\x74\x99\x99\x99\x82", b"\xff" * 7, b"\xaa\xbb\xcc\xdd\xee\xff\x82"))
    )


def without_sender(pdu: str) -> str:
    """The same SMS-DELIVER with an originating address of no digits."""
    octets = bytearray.fromhex(pdu)
    if _coding(octets) is None:
        return pdu
    at = 1 + octets[0] + 1
    octets[at : at + 2 + (octets[at] + 1) // 2] = b"\0\x81"
    return octets.hex().upper()


def _coding(octets: bytes | bytearray) -> int | None:
    """Where TP-DCS is in an SMS-DELIVER with the service centre in front; None in what is none, or is cut short."""
    first = 1 + octets[0] if octets else 0
    if len(octets) < first + 2 or octets[first] & 3:
        return None
    at = first + 2 + 1 + (octets[first + 1] + 1) // 2 + 1
    return at if at + 1 + _STAMP_OCTETS <= len(octets) else None
