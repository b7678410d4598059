"""How often the rules themselves give a text to the wrong question, over far more questions than lanes can play.

`python tests/foreign_world_rates.py --days 100 --temper assumed`: one SIM and service at a time, asked as often as its holds
allow, decided by `foreign_world_rules`, which the played world compares with the gateway decision by decision.
"""

from __future__ import annotations

import argparse
import heapq
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from conftest import START
from foreign_world_rules import DAY, LATE, SETTLE, Asked, Clocked, judge
from foreign_world_words import BY_NAME, TEMPERS, Cause, Played, Said, Temper, advert, answers

TIMEOUT = timedelta(minutes=5)
PACE = timedelta(seconds=20)


@dataclass(slots=True)
class Rates:
    """What came of the questions: `given` answers and `wrong` ones by outcome, withdrawn ones counted apart."""

    questions: int = 0
    given: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    withdrawn: int = 0
    answered_right: int = 0

    def in_ten_thousand(self, outcome: str) -> float:
        """Wrong answers of this outcome in 10,000 answers of any."""
        return 10_000 * self.wrong[outcome] / max(1, sum(self.given.values()))


class Line:
    """One SIM asking one service, back to back."""

    def __init__(self, played: Played, temper: Temper, seed: int, needs_echo: bool) -> None:
        self.played, self.temper, self.needs_echo = played, temper, needs_echo
        self.dice = Random(f"rates/{seed}/{played.name}")
        self.asked: list[Asked] = []
        self.noted: set[str] = set()
        self.answer: dict[str, tuple[str, str, bool]] = {}
        self.heap: list[tuple[datetime, int, Said]] = []
        self.counted = Rates()
        self._planned = 0
        self._outages: list[tuple[datetime, datetime]] = []

    def run(self, days: float) -> Rates:
        """Ask for so many days; the rest that is on its way is heard to its end."""
        now, end, played, temper = START, START + timedelta(days=days), self.played, self.temper
        self._plan_outages(days)
        for _ in range(int(days * temper.adverts_per_day)):
            at = START + self.dice.random() * (end - START)
            self._plan(at, advert(played, self.dice, temper, [played.make(self.dice.randrange(temper.pool))]))
        while True:
            latest = self.asked[-8:]  # what holds, or flies, is among the last that were asked
            free = max([one.held_until or now for one in latest if one.held(now)], default=now)
            flights = [one.opened + TIMEOUT for one in latest if one.in_flight]
            nexts = [self.heap[0][0]] if self.heap else []
            nexts += flights
            if now < end and not flights:
                nexts.append(max(free, now + PACE) if self.asked else now)
            if not nexts:
                break
            now = min(nexts)
            if self.heap and self.heap[0][0] <= now:
                self._hear(heapq.heappop(self.heap)[2], now)
            elif any(at <= now for at in flights):
                self._time_out(now)
            elif not any(one.held(now) for one in latest):
                self._ask(now)
        for outcome, _, right in self.answer.values():
            self.counted.given[outcome] += 1
            self.counted.wrong[outcome] += not right
            self.counted.answered_right += right
        for _, why, right in self.answer.values():
            if not right:
                self.counted.why[why] += 1
        return self.counted

    def _plan_outages(self, days: float) -> None:
        for _ in range(int(days * self.temper.outages_per_day)):
            begins = START + timedelta(days=days * self.dice.random())
            self._outages.append((begins, begins + timedelta(seconds=self.dice.uniform(300, 7200))))
        self._outages.sort()

    def _plan(self, at: datetime, said: Said) -> None:
        self._planned += 1
        heapq.heappush(self.heap, (at, self._planned, said))

    def _ask(self, now: datetime) -> None:
        self.counted.questions += 1
        matters = (
            3 * LATE if self.played.names == "never" else DAY
        )  # without cards only what holds, or held, does
        if len(self.asked) > 2000 or (self.asked and self.asked[0].opened < now - 1.2 * matters):
            self.asked = [one for one in self.asked if one.opened > now - matters]
        while self._outages and self._outages[0][1] <= now:
            self._outages.pop(0)
        number = f"q{self.counted.questions}"
        card = self.played.make(self.dice.randrange(self.temper.pool))
        self.asked.append(
            Asked(number, number, self.played.name, card, now, True, now + LATE, False, None, None, None)
        )
        if self.dice.random() < self.temper.silent:
            return
        cause = Cause(self.played.name, card, number, now.timestamp())
        at = now + timedelta(seconds=self.temper.delay(self.dice))
        for said in answers(self.played, cause, self.temper, self.dice, [card]):
            copies = 1 + (self.dice.random() < self.temper.doubled)
            for copy in range(copies):
                then = at + copy * timedelta(seconds=self.dice.uniform(0, 60))
                for begins, ends in self._outages:
                    if begins <= then < ends:
                        then = ends + timedelta(seconds=self.dice.uniform(0, 60))
                self._plan(then, said)
            gap = (30, 900) if said.kind == "apology" else (1, 40)
            at += timedelta(seconds=self.dice.uniform(*gap))

    def _time_out(self, now: datetime) -> None:
        for one in self.asked:
            if one.in_flight and one.opened + TIMEOUT <= now:
                one.in_flight = False
                if one.question in self.noted:
                    one.answered, one.evidence, one.held_until = True, "note", now + SETTLE
                elif self.played.names == "always":
                    one.held_until = now

    def _hear(self, said: Said, now: datetime) -> None:
        verdict = judge(
            said, None, self.asked, {self.played.name: self.needs_echo}, now, Clocked(timedelta(0), ())
        )
        if verdict.role == "note" and verdict.question is not None:
            self.noted.add(verdict.question)
        if verdict.reason == "contradiction" and verdict.question is not None:
            self.counted.withdrawn += self.answer.pop(verdict.question, None) is not None
        if verdict.role in ("answer", "amendment") and verdict.question is not None:
            right = said.cause is not None and (
                said.cause.sim == verdict.question
                or said.cause.card == next(o.card for o in self.asked if o.question == verdict.question)
            )
            why = "an advertisement" if said.cause is None else said.kind
            if said.cause is not None and now.timestamp() - said.cause.sent_at > LATE.total_seconds():
                why += ", beyond an hour"
            self.answer[verdict.question] = (said.says.get(self.played.name, "unrecognised"), why, right)


def main() -> None:
    """Print the rates of each kind of service."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temper", choices=TEMPERS, default="assumed")
    given = parser.parse_args()
    temper = TEMPERS[given.temper]
    kinds = {
        "never names": replace(BY_NAME["never-nik"], bare=("Kepesertaan Anda AKTIF, tagihan Rp {amount}",)),
        "found ones name": BY_NAME["bpjstk-balance"],
        "all name": BY_NAME["bpjskes-status"],
        "all name, file says always": BY_NAME["always-kpj"],
    }
    for name, played in kinds.items():
        rates = Line(played, temper, given.seed, name.endswith("always")).run(given.days)
        print(
            f"{name:28} questions {rates.questions:7} answers {sum(rates.given.values()):7} wrong in 10,000: found "
            f"{rates.in_ten_thousand('found'):.1f} not found {rates.in_ten_thousand('not_found'):.1f} other "
            f"{rates.in_ten_thousand('unavailable') + rates.in_ten_thousand('unrecognised'):.1f} withdrawn "
            f"{rates.withdrawn} {dict(rates.why)}"
        )


if __name__ == "__main__":
    main()
