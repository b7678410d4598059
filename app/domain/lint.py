"""What is wrong with a catalogue beyond what its files cannot even say: shared senders, examples, long requests."""

from __future__ import annotations

from itertools import combinations

from app.domain.identifiers import LENGTHS, normalise_address
from app.domain.reading import read
from app.domain.services import Catalogue, Example, Service, parts_of
from app.domain.states import Outcome


def lint(catalogue: Catalogue) -> list[str]:
    """A sentence for every problem, each with what to do; empty if there is none."""
    problems = [problem for service in catalogue for problem in _service(service)]
    for one, other in combinations(catalogue, 2):
        shared = _shared(one, other)
        if shared is not None and one.conversation != other.conversation:
            problems.append(
                f'{one.name} and {other.name} are both answered by "{shared}", so their replies could be confused: '
                f'add the line `conversation = "{one.conversation}"` to {other.name}.toml'
            )
        words = {word.casefold() for word in one.phone}
        for word in other.phone:
            if word.casefold() in words:
                problems.append(
                    f'{one.name} and {other.name} both answer phones that text "{word}", and only one can be meant: '
                    f"take it out of `phone` in {other.name}.toml"
                )
    return problems


def _shared(one: Service, other: Service) -> str | None:
    for mine in one.senders:
        for theirs in other.senders:
            left, right = _prefix(mine), _prefix(theirs)
            shorter, longer = sorted((left, right), key=len)
            wide = (mine if shorter == left else theirs).endswith("*")
            if left == right or (wide and longer.startswith(shorter)):
                return mine
    return None


def _prefix(sender: str) -> str:
    return sender[:-1].upper() if sender.endswith("*") else normalise_address(sender)


def _service(service: Service) -> list[str]:
    where = f"{service.name}.toml"
    problems = [
        p for n, e in enumerate(service.examples, 1) if (p := _example(service, e, f"{where}: example {n}"))
    ]
    shown = {e.reply for e in service.examples}
    problems += [
        f'{where}: reply "{r.name}" has no example: add an [[examples]] table'
        for r in service.replies
        if r.name not in shown
    ]
    longest = {name: "9" * LENGTHS[field.kind] for name, field in service.fields.items()}
    if (parts := parts_of(service.request_text.format(**longest))) > 1:
        problems.append(
            f"{where}: the request takes {parts} SMS: shorten request.text to one part of GSM-7 characters"
        )
    if not service.accepts_sender(service.address):
        problems.append(
            f'{where}: replies from {service.address} itself are not accepted: add "{service.address}" to senders'
        )
    return problems


def _example(service: Service, example: Example, where: str) -> str | None:
    reading = read(service, example.text)
    kind = service.subject_field.kind
    echoes = {r.name: r.echo for r in service.replies}
    if echoes.get(example.reply) and not any(kind in found.kinds for found in reading.names):
        return f'{where}: reply "{example.reply}" says echo = true, but the text holds no {kind.value}'
    if (reading.reply or "") != example.reply:
        return f'{where}: read by "{reading.reply or ""}", not by "{example.reply}": mend the pattern or the order of replies'
    if reading.outcome is Outcome.FOUND or example.record:
        wrong = sorted(
            name
            for name in {*reading.record, *example.record}
            if reading.record.get(name) != example.record.get(name)
        )
        if wrong:
            return f"{where}: the record differs in {', '.join(wrong)}: the text reads as {reading.record!r}"
    return None
