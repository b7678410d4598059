"""What the kinds of `stranger_modems_kinds` do, where a line said in place of another does not tell it."""

from __future__ import annotations

import re
from collections.abc import Callable

from stranger_modems import Rule, Say, Stranger, lines


def once(said: Say | Rule, then: Say | Rule = None) -> Rule:
    """The first time one thing, later another."""
    return times(1, said, then)


def times(count: int, said: Say | Rule, then: Say | Rule = None) -> Rule:
    """So often one thing, later another; None is the usual answer."""

    def rule(stick: Stranger, found: re.Match[str]) -> Say:
        done = int(str(stick.memory.get(found.re.pattern, 0)))
        stick.memory[found.re.pattern] = done + 1
        now = said if done < count else then
        return now(stick, found) if callable(now) else now

    return rule


def raw(change: Callable[[bytes], bytes]) -> Callable[[Stranger, re.Match[str]], Say]:
    """The usual answer as bytes, changed."""

    def rule(stick: Stranger, found: re.Match[str]) -> Say:
        said = stick.usual(found[0])
        return change(said if isinstance(said, bytes) else lines(said))

    return rule


def without(char: bytes) -> Rule:
    return raw(lambda said: said.replace(char, b"", 1))


def twice(char: bytes) -> Rule:
    return raw(lambda said: said.replace(char, char * 2, 1))


# What a rule needs more than a line for.


def glued(stick: Stranger, found: re.Match[str]) -> Say:
    """A listing whose second header stands right behind the PDU before it."""
    return lines("\n".join(stick.listing())).replace(b"\r\n\r\n+CMGL: 2", b"+CMGL: 2") + lines("OK")


def sequential(stick: Stranger, found: re.Match[str]) -> Say:
    said = stick.listing()
    for number in range(0, len(said), 2):
        said[number] = re.sub(r"\d+", str(number // 2 + 1), said[number], count=1)
    return "\n".join([*said, "OK"])


def only_new(stick: Stranger, found: re.Match[str]) -> Say:
    """Lists what was never shown before, and nothing else."""
    storage, shown = stick.storages[stick.current], set(stick.read_already)
    return "\n".join([*stick.listing(but=lambda index: storage[index] in shown), "OK"])


def but_the_first(stick: Stranger, found: re.Match[str]) -> Say:
    first = min(stick.storages[stick.current], default=0)
    return "\n".join([*stick.listing(but=lambda index: index == first), "OK"])


def ok_first(stick: Stranger, found: re.Match[str]) -> Say:
    return "\n".join(["OK", *stick.listing()])


def unreadable_me(stick: Stranger, found: re.Match[str]) -> Say:
    if stick.current != "ME":
        return None
    return "OK" if found[0].upper().startswith("AT+CMGL") else "+CMS ERROR: 500"


def by_pairs(stick: Stranger, found: re.Match[str]) -> Say:
    names = re.findall(r'"(\w+)"', found[0])
    return None if len(names) > 1 and names[0] == names[1] else "+CMS ERROR: 321"


def not_yet(stick: Stranger, found: re.Match[str]) -> Say:
    """For the first two looks after a hint there is nothing."""
    index = found[1] if found.re.groups else "list"
    looks = int(str(stick.memory.get(index, 0)))
    stick.memory[index] = looks + 1
    return "OK" if looks < 2 else None


def late_delete(stick: Stranger, found: re.Match[str]) -> Say:
    said = stick.usual(found[0])
    stick.say(said, 1.5)
    return b""


def no_delete(stick: Stranger, found: re.Match[str]) -> Say:
    return "OK" if found[1] != "?" else None


def listing_lists(length_of: Callable[[str], int]) -> Rule:
    def rule(stick: Stranger, found: re.Match[str]) -> Say:
        said = []
        for index, pdu in sorted(stick.storages[stick.current].items()):
            said += [f"+CMGL: {index},0,,{length_of(pdu)}", pdu]
        return "\n".join([*said, "OK"])

    return rule


def reading_reads(length_of: Callable[[str], int]) -> Rule:
    def rule(stick: Stranger, found: re.Match[str]) -> Say:
        pdu = stick.storages[stick.current].get(int(found[1]))
        return f"+CMGR: 0,,{length_of(pdu)}\n{pdu}\nOK" if pdu else "+CMS ERROR: 321"

    return rule


def octets(pdu: str) -> int:
    return len(pdu) // 2


def asleep(stick: Stranger, data: bytes) -> bytes:
    """Idle, it does not hear the first line; what `sleep` in the memory says is set by the test."""
    if stick.memory.pop("sleep", False):
        stick.memory["woken"] = True
        return b""
    return data


def hurried(stick: Stranger, data: bytes) -> bytes:
    """Of a PDU that comes in one piece, no more than 32 octets are taken in."""
    if stick.memory.get("pdu") and len(data) > 32:
        return data[:32] + data[data.find(b"\x1a") :] if b"\x1a" in data else data[:32]
    return data


def mark_pdu(stick: Stranger, found: re.Match[str]) -> Say:
    stick.memory["pdu"] = True
    return None


def lost_once(stick: Stranger, pdu: str) -> Say:
    """Failed, which it calls OK."""
    if stick.memory.setdefault("failed", stick.reference) == stick.reference and not stick.sent:
        stick.memory["failed"] = -1
        return "OK"
    return None


def refused_once(said: str) -> Callable[[Stranger, str], Say]:
    def takes(stick: Stranger, pdu: str) -> Say:
        return said if stick.memory.setdefault("refused", pdu) is pdu else None

    return takes


def restarts_once(banner: bytes, sent: bool) -> Callable[[Stranger, str], Say]:
    """With the first Ctrl-Z it starts anew, after the SMS went or before."""

    def takes(stick: Stranger, pdu: str) -> Say:
        if stick.memory.setdefault("restarted", pdu) is not pdu:
            return None
        stick.restart(banner)
        if sent:
            stick.went(stick.parse(pdu))
            stick.answer(stick.sent[-1])
        return b""

    return takes


def lost_prompt(stick: Stranger, found: re.Match[str]) -> Say:
    stick.expect_pdu(int(found[1]))
    return b"\r\n "


def empty_is_an_error(stick: Stranger, found: re.Match[str]) -> Say:
    return None if int(found[1]) in stick.storages[stick.current] else "ERROR"


def read_and_remove(stick: Stranger, found: re.Match[str]) -> Say:
    said = stick.usual(found[0])
    stick.storages[stick.current].pop(int(found[1]), None)
    return said


def hints_again(stick: Stranger, found: re.Match[str]) -> Say:
    for index in stick.storages["SM"] if stick.hints else ():
        stick.say(f'+CMTI: "SM",{index}')
    return None


def sticks_once(stick: Stranger, pdu: str) -> Say:
    if stick.memory.setdefault("stuck", True) is not True or stick.sent:
        return None
    stick.went(stick.parse(pdu))
    stick.answer(stick.sent[-1])
    return b""


def stuck(stick: Stranger, found: re.Match[str]) -> Say:
    return "+CMS ERROR: 515" if stick.memory.get("stuck") is True else None


def unstuck(stick: Stranger, found: re.Match[str]) -> Say:
    stick.memory["stuck"] = False
    stick.restart(lines("OK") + b"\r\nRDY\r\n")
    return b""
