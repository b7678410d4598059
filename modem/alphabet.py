"""The GSM 7-bit alphabet with its national tables, and the packing of septets into octets (3GPP TS 23.038 §6)."""

from __future__ import annotations

import codecs
import re
from functools import cache

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

_ESCAPED = re.compile("\x1b(.?)", re.DOTALL)


def is_gsm7(text: str) -> bool:
    """Whether the default alphabet and its extension hold every character."""
    return all(char in SEPTETS for char in text)


def septets_of(text: str) -> bytes:
    """One septet an octet; two for a character of the extension. KeyError for a character that has none."""
    return b"".join([SEPTETS[char] for char in text])


def text_of(septets: bytes) -> str:
    """The text of septets, one an octet, each below 0x80.

    §6.2.1.1: without an entry in the extension the default table's character is shown, for a second escape a space.
    """
    text, _ = codecs.charmap_decode(septets, "strict", BASIC)
    if "\x1b" not in text:
        return text
    extended = _extended()
    return _ESCAPED.sub(lambda found: extended.get(found[1], found[1]), text)


@cache
def _extended() -> dict[str, str]:
    """What stands behind an escape, by the default table's character for it."""
    return {BASIC[code]: char for code, char in EXTENSION.items()} | {"\x1b": " "}


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
