"""Microseconds a TPDU takes to decode, to encode and to join, on one core; the best of five runs."""

from __future__ import annotations

import argparse
import json
import timeit
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from modem.pdu import (
    Concat,
    StoredSubmit,
    Submit,
    decode,
    encode_deliver,
    encode_status_report,
    encode_submit,
    join,
    split,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SENTENCE = "Peserta BPJS Kesehatan 99 aktif. "


def cases() -> dict[str, Callable[[], object]]:
    received = {
        "decode a deliver, 160 characters": encode_deliver("2757", (SENTENCE * 5)[:160], NOON),
        "decode a part with its header": encode_deliver(
            "2757", (SENTENCE * 5)[:153], NOON, concat=Concat(7, 8, 3, 1)
        ),
        "decode a deliver of 80 extension characters": encode_deliver("2757", "€[" * 40, NOON),
        "decode a deliver in UCS2, 70 characters": encode_deliver("2757", "я" * 70, NOON),
        "decode a status report": encode_status_report(7, "2757", NOON, NOON, 0),
    }
    whole = SENTENCE * 14
    parts = [
        part for made in submit(whole) if isinstance(part := decode(made.pdu, outgoing=True), StoredSubmit)
    ]
    return {name: partial(decode, pdu) for name, pdu in received.items()} | {
        "encode a submit, one part": lambda: submit(SENTENCE),
        "encode a submit, four parts": lambda: submit(whole),
        "split into four parts": lambda: split(whole),
        "join four parts": lambda: join(parts),
    }


def submit(text: str) -> list[Submit]:
    return encode_submit("2757", text, validity=timedelta(hours=1), report=True, concat_reference=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="only the JSON")
    given = parser.parse_args()
    took = {
        name: round(min(timeit.repeat(case, number=2_000, repeat=5)) / 2_000 * 1e6, 1)
        for name, case in cases().items()
    }
    if not given.json:
        for name, micros in took.items():
            print(f"{name:<46}{micros:>8.1f} µs")
    print(json.dumps(took))


if __name__ == "__main__":
    main()
