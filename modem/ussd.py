"""USSD strings as AT+CUSD takes and gives them: text, 7-bit packed hex or UCS2 hex (3GPP TS 27.007 §7.15, 23.038 §5)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modem.alphabet import is_gsm7, pack, septets_of, text_of, unpack

TEXT, PACKED, UCS2 = "text", "packed", "ucs2"

_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
# What a sentence in Latin letters mostly consists of. Not "@": it is septet 0, of which text read in the wrong way is full.
_PLAIN = re.compile(r"[\s!-?A-~]")
_CONTROL = re.compile(r"[^\n\r\t -\uffff]")


def encode(code: str, form: str) -> str:
    """A code or an answer to a menu, in the form that the modem takes: `text`, `packed` or `ucs2`.

    Packed ends in a CR where seven bits are left over, or where a CR fills the last octet (3GPP TS 23.038 §6.1.2.3.1).
    Raises ValueError for a form that is none, and for packed text outside the default alphabet.
    """
    if form == TEXT:
        return code
    if form == UCS2:
        return code.encode("utf-16-be", "replace").hex().upper()
    if form != PACKED:
        raise ValueError(f"{form} is none of {TEXT}, {PACKED}, {UCS2}")
    if not is_gsm7(code):
        raise ValueError("a packed USSD string holds characters of the GSM 7-bit alphabet only")
    septets = septets_of(code)
    if len(septets) % 8 == 7 or (len(septets) % 8 == 0 and septets.endswith(b"\r")):
        septets += b"\r"
    return pack(septets).hex().upper()


def decode(payload: str, dcs: int | None, form: str) -> str:
    """What the network said. `dcs` is the cell broadcast coding of the answer (3GPP TS 23.038 §5), `form` what this modem usually uses.

    Modems differ from both: hex is read in the way that `dcs` and `form` say, or else in the one that gives a legible text.
    Never raises; what cannot be read, and all that is no hex, comes back as it was.
    """
    if not _HEX.fullmatch(payload):
        return payload
    for text, surely in _readings(payload, dcs, form):
        if surely or _legible(text):
            return text
    return payload


def coding_of(dcs: int) -> str:
    """`gsm7`, `octets` or `ucs2` (3GPP TS 23.038 §5); reserved codings are taken as the default alphabet."""
    group = dcs >> 4
    if dcs == 0x11:
        return "ucs2"
    if 0x04 <= group <= 0x07 and dcs & 0x20:  # compressed
        return "octets"
    if 0x04 <= group <= 0x07 or group == 0x09:
        return ("gsm7", "octets", "ucs2", "gsm7")[dcs >> 2 & 0x03]
    if group == 0x0F and dcs & 0x04:
        return "octets"
    return "gsm7"


def _readings(payload: str, dcs: int | None, form: str) -> Iterator[tuple[str, bool]]:
    """The ways to read hex digits, the likeliest first, and whether one is beyond doubt."""
    octets = bytes.fromhex(payload)
    coding = None if dcs is None else coding_of(dcs)
    wide, narrow = _ucs2(octets, dcs), _packed(octets, dcs)
    if wide is not None and (coding == "ucs2" or form == UCS2):
        # On a modem that does not always give UCS2, a long text that is a sentence when unpacked was packed.
        unpacked = form != UCS2 and len(octets) >= 16 and _legible(narrow)
        yield wide, coding == "ucs2" and "\ufffd" not in wide and not unpacked
    if wide is not None and len(octets) > 2 and not any(octets[::2]):
        yield wide, False
    if form == TEXT and (len(octets) < 8 or payload.isdecimal()):
        return  # plain answers that look like hex: short words, numbers of any length
    if coding == "octets":
        yield octets.decode("latin-1"), False
    narrow_is_sure = form == PACKED and coding == "gsm7" and not payload.isdecimal()
    yield narrow, narrow_is_sure and not _CONTROL.search(narrow)
    if form != TEXT:
        yield octets.decode("latin-1"), False


def _ucs2(octets: bytes, dcs: int | None) -> str | None:
    if len(octets) % 2:
        return None
    if dcs == 0x11:
        octets = octets[2:]  # §5: two packed letters of a language in front
    return octets.decode("utf-16-be", "replace")


def _packed(octets: bytes, dcs: int | None) -> str:
    septets = unpack(octets, len(octets) * 8 // 7)
    if len(septets) % 8 == 0 and septets.endswith(b"\r"):
        septets = septets[:-1]
    text = text_of(septets)
    if dcs == 0x10 and text[2:3] == "\r":
        return text[3:]  # §5: a language in front
    return text


def _legible(text: str) -> bool:
    """Nine of ten characters are letters, digits, blanks and marks of a Latin sentence."""
    return bool(text) and 10 * len(_PLAIN.findall(text)) >= 9 * len(text)
