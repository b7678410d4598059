"""The GSM 7-bit alphabet with its national tables, and the packing of septets into octets (3GPP TS 23.038 §6)."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

# 3GPP TS 23.038 §6.2.1, in code order; 0x1B is the escape.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# 3GPP TS 23.038 §6.2.1.1.
EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
ESCAPE = 0x1B
SEPTETS: dict[str, bytes] = {char: bytes((code,)) for code, char in enumerate(BASIC) if code != ESCAPE} | {
    char: bytes((ESCAPE, code)) for code, char in EXTENSION.items()
}

# 3GPP TS 23.038 §6.2.1.2.4: the national language identifiers, as ISO 639-1 codes. Bengali is Assamese too.
LANGUAGES = {
    1: "tr",
    2: "es",
    3: "pt",
    4: "bn",
    5: "gu",
    6: "hi",
    7: "kn",
    8: "ml",
    9: "or",
    10: "pa",
    11: "ta",
    12: "te",
    13: "ur",
}
_TURKISH = {0x04: "€", 0x07: "ı", 0x0B: "Ğ", 0x0C: "ğ", 0x1C: "Ş", 0x1D: "ş", 0x40: "İ", 0x60: "ç"}
# 3GPP TS 23.038 annex A.3. The scripts of India and Pakistan are shown by the default table.
_LOCKING = {
    0: BASIC,
    1: "".join(_TURKISH.get(code, char) for code, char in enumerate(BASIC)),
    3: (
        "@£$¥êéúíóç\nÔô\rÁáΔ_ªÇÀ∞^\\€Ó|\x1bÂâÊÉ !\"#º%&'()*+,-./0123456789:;<=>?"
        "ÍABCDEFGHIJKLMNOPQRSTUVWXYZÃÕÚÜ§~abcdefghijklmnopqrstuvwxyzãõ`üà"
    ),
}
_SPANISH = dict(zip(b"AIOUaiou\x09", "ÁÍÓÚáíóúç", strict=True))
# 3GPP TS 23.038 annex A.2: what each adds to the default extension.
_SINGLE = {
    0: EXTENSION,
    1: EXTENSION | dict(zip(b"GIScgis", "ĞİŞçğış", strict=True)),
    2: EXTENSION | _SPANISH,
    3: EXTENSION
    | _SPANISH
    | dict(zip(b"Aa[\\{|\x7f\x05\x0b\x0c\x0e\x0f\x1f", "ÀÂÃÕãõâêÔôÁáÊ", strict=True))
    | dict(zip(range(0x12, 0x1A), "ΦΓ^ΩΠΨΣΘ", strict=True)),
}
_ESCAPED = re.compile("\x1b(.?)", re.DOTALL)


def is_gsm7(text: str) -> bool:
    """Whether the default alphabet and its extension hold every character."""
    return SEPTETS.keys() >= set(text)


def septets_of(text: str) -> bytes:
    """One septet an octet; two for a character of the extension. KeyError for a character that has none."""
    return b"".join([SEPTETS[char] for char in text])


def text_of(septets: bytes, locking: int = 0, single: int = 0) -> str:
    """The text of septets, one an octet, each below 0x80, by the tables of two national languages (§6.2.1.2).

    A language without a table is read by the default ones. §6.2.1.1: without an entry in the extension the locking table's
    character is shown, for a second escape a space.
    """
    text, _ = codecs.charmap_decode(septets, "strict", _LOCKING.get(locking, BASIC))
    if "\x1b" not in text:
        return text
    extended = _extended(locking, single)
    return _ESCAPED.sub(lambda found: extended.get(found[1], found[1]), text)


@lru_cache(64)
def _extended(locking: int, single: int) -> dict[str, str]:
    """What stands behind an escape, by the character that the locking table has for its septet."""
    table = _LOCKING.get(locking, BASIC)
    return {table[code]: char for code, char in _SINGLE.get(single, EXTENSION).items()} | {"\x1b": " "}


_WIDEST = 256  # septets spread at once: a power of two, more than the 160 of a whole SMS


def _steps() -> list[tuple[int, int, int]]:
    """Masks and shifts that spread 7-bit groups into octets: each step halves the groups of septets that still lie close."""
    steps = []
    half = _WIDEST // 2
    while half:
        low = sum(((1 << 7 * half) - 1) << place for place in range(0, 8 * _WIDEST, 16 * half))
        steps.append((low, low << 7 * half, half))
        half //= 2
    return steps


_STEPS = _steps()


def unpack(octets: bytes, count: int, fill: int = 0) -> bytes:
    """`count` septets, one an octet, of which the first begins after `fill` bits; zeros where the octets end (§6.1.2.1)."""
    bits = int.from_bytes(octets, "little") >> fill
    chunks = []
    for begin in range(0, count, _WIDEST):
        some = min(_WIDEST, count - begin)
        part = bits >> 7 * begin & ((1 << 7 * some) - 1)
        for low, high, shift in _STEPS:
            part = part & low | (part & high) << shift
        chunks.append(part.to_bytes(some, "little"))
    return b"".join(chunks)


def pack(septets: bytes, fill: int = 0) -> bytes:
    """Septets, each below 0x80, put together without gaps behind `fill` zero bits (§6.1.2.1)."""
    bits = 0
    for begin in range(0, len(septets), _WIDEST):
        part = int.from_bytes(septets[begin : begin + _WIDEST], "little")
        for low, high, shift in reversed(_STEPS):
            part = part & low | (part >> shift) & high
        bits |= part << 7 * begin
    return (bits << fill).to_bytes((7 * len(septets) + fill + 7) // 8, "little")
