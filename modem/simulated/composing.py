"""SMS-SUBMITs as AT+CSMP wants them in text mode, and what text mode shows of one (3GPP TS 27.005 §3.1, 23.040 §9.2.2.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modem.alphabet import SEPTETS, pack
from modem.pdu import GSM7, alphabet_of, encode_submit
from modem.simulated.grammar import cms, number

ABSENT, ENHANCED, RELATIVE, ABSOLUTE = range(4)  # TP-VPF, 3GPP TS 23.040 §9.2.3.3
_UDHI = 0x40  # TP-User-Data-Header-Indicator, 3GPP TS 23.040 §9.2.3.23
_ADDRESS = 2  # where TP-DA begins in a TPDU: behind the first octet and TP-MR
_LIMIT = 140  # octets of TP-UD, 3GPP TS 23.040 §9.2.3.24
_TIME = re.compile(r"(\d\d)/(\d\d)/(\d\d),(\d\d):(\d\d):(\d\d)([+-])(\d\d)")
_OCTETS = re.compile(r"[0-9A-Fa-f]{14}")


@dataclass(frozen=True, slots=True)
class TextParameters:
    """What AT+CSMP sets (3GPP TS 27.005 §3.2.4): `validity` is a number, a time, or seven octets in hex."""

    first: int = 17
    validity: str = "167"
    pid: int = 0
    dcs: int = 0

    def __str__(self) -> str:
        shown = (
            self.validity if self.validity.isdecimal() and len(self.validity) < 4 else f'"{self.validity}"'
        )
        return f"{self.first},{shown},{self.pid},{self.dcs}"

    def changed(self, values: Sequence[str]) -> TextParameters:
        """With those that are not left out. Raises Refused for one that makes no sense, or a wrong kind of validity."""
        wrong = cms(305)
        if len(values) > 4:
            raise wrong
        first, validity, pid, dcs = (*values, *("",) * (4 - len(values)))
        made = TextParameters(
            number(first, 0, 255, wrong) if first else self.first,
            validity or self.validity,
            number(pid, 0, 255, wrong) if pid else self.pid,
            number(dcs, 0, 255, wrong) if dcs else self.dcs,
        )
        if validity and not (_TIME.fullmatch(validity) or _OCTETS.fullmatch(validity)):
            number(validity, 0, 255, wrong)
        return made

    @property
    def in_hex(self) -> bool:
        """Whether the text is entered in hex (3GPP TS 27.005 §3.1 <data>)."""
        return alphabet_of(self.dcs) != GSM7 or bool(self.first & _UDHI)


def compose(address: str, body: str | bytes, wanted: TextParameters) -> str:
    """An SMS-SUBMIT of a text, or of octets with their header if any; without an address for AT+CMGW (§3.5.3).

    Characters that the default alphabet has not become `?`. Raises Refused for what does not fit together, PduError for an
    address that is none.
    """
    if isinstance(body, bytes):
        data = body
        length = len(data) * 8 // 7 if alphabet_of(wanted.dcs) == GSM7 else len(data)
    else:
        septets = b"".join(SEPTETS.get(char, SEPTETS["?"]) for char in body)
        data, length = pack(septets), len(septets)
    if len(data) > _LIMIT:
        raise cms(305)
    first = wanted.first & ~0x03 | 0x01  # it is an SMS-SUBMIT, whatever TP-MTI says
    head = bytes((0, first, 0)) + _receiver(address) + bytes((wanted.pid, wanted.dcs)) + _period(wanted)
    return (head + bytes((length,)) + data).hex().upper()


def _period(wanted: TextParameters) -> bytes:
    """TP-VP. Raises Refused where it is of another kind than TP-VPF says."""
    kind, text = wanted.first >> 3 & 3, wanted.validity
    if kind == ABSENT:
        return b""
    if kind == RELATIVE and not _OCTETS.fullmatch(text):
        return bytes((number(text, 0, 255, cms(305)),))
    if kind == ENHANCED and _OCTETS.fullmatch(text):
        return bytes.fromhex(text)
    if kind == ABSOLUTE and (match := _TIME.fullmatch(text)):
        *digits, sign, quarters = match.groups()
        octets = bytearray(int(pair[::-1], 16) for pair in (*digits, quarters))
        octets[6] |= 0x08 if sign == "-" else 0
        return bytes(octets)
    raise cms(305)


def _receiver(address: str) -> bytes:
    """TP-DA, also of nobody. Raises PduError."""
    if not address:
        return b"\x00\x81"
    frame = encode_submit(address, "", validity=None, report=False, concat_reference=0)[0].pdu
    octets = bytes.fromhex(frame)
    return octets[1 + _ADDRESS : _behind_address(octets)]


def _behind_address(octets: bytes) -> int:
    """Where TP-PID is in an SMS-SUBMIT with the service centre in front."""
    at = 1 + octets[0] + _ADDRESS
    return at + 2 + (octets[at] + 1) // 2


def readdressed(pdu: str, address: str) -> str:
    """The same stored SMS-SUBMIT to somebody else, all else as it was stored. Raises PduError."""
    octets = bytes.fromhex(pdu)
    head = octets[: 1 + octets[0] + _ADDRESS]
    return (head + _receiver(address) + octets[_behind_address(octets) :]).hex().upper()


def first_octet(pdu: str) -> int:
    """The first octet of the TPDU behind the service centre, <fo> in text mode."""
    octets = bytes.fromhex(pdu)
    return octets[1 + octets[0]]


def validity_shown(pdu: str) -> str:
    """<vp> of a stored SMS-SUBMIT: a number, a time between quotes, hex between quotes, or nothing."""
    octets = bytes.fromhex(pdu)
    at = _behind_address(octets) + 2
    kind, seven = first_octet(pdu) >> 3 & 3, octets[at : at + 7]
    if kind == ABSENT:
        return ""
    if kind == RELATIVE:
        return str(octets[at])
    if kind == ENHANCED:
        return f'"{seven.hex().upper()}"'
    sign = "-" if seven[6] & 0x08 else "+"
    pairs = [f"{octet & 0x0F:X}{octet >> 4:X}" for octet in (*seven[:6], seven[6] & 0xF7)]
    return '"{}/{}/{},{}:{}:{}{}{}"'.format(*pairs[:6], sign, pairs[6])
