"""Going on after a mistake: what each shard concerned begins with, and what that costs, said before.

To begin *anew* gives up everything the ledger holds: no job is in force, and nothing planned up to now goes
out any more. The next start takes the schedule file as new, from then on. So nothing can be sent twice, and
what was planned in between and is not in the job topics is skipped. To *rebind* keeps it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dispatcher.core.batch import Draft, Encoder
from dispatcher.core.codec import CURSOR_KEY, IDENTITY_KEY, OWNER_KEY, decode
from dispatcher.core.diagnosis import Facts, Finding, Remedy, Sent, ShardFacts, Trouble
from dispatcher.core.event import Event
from dispatcher.core.instant import Instant, to_text
from dispatcher.core.ledger import Change, Cursor, Fact, Identity, JobVersions, Position
from dispatcher.core.message import Outgoing
from dispatcher.errors import LedgerUnfit

_KEPT = (CURSOR_KEY, IDENTITY_KEY, OWNER_KEY)


@dataclass(frozen=True, slots=True)
class Beginning:
    """How one shard goes on, and what that costs.

    Everything due up to `after` is settled for certain (None: that is not known of anything), but for
    missed fires that were being caught up, if `backlog`. Nothing planned up to `until` goes out any more.
    `sent` is the latest fire found. Of a shard that is rebound nothing is skipped: `after` is `until`.
    """

    shard: int
    trouble: Trouble
    remedy: Remedy
    after: Instant | None
    until: Instant
    backlog: bool
    sent: Sent | None

    def skipped(self) -> str:
        """Say which fires may be skipped."""
        if self.remedy is Remedy.REBIND:
            return f"shard {self.shard}: none"
        since = "all there were" if self.after is None else f"those planned after {to_text(self.after)}"
        known = "" if self.sent is None else f"; the latest found there is {self.sent.fire}"
        also = ", and missed ones that were still being caught up" if self.backlog else ""
        return f"shard {self.shard}: {since}{also}{known}"


def cost(shards: Sequence[Beginning]) -> tuple[str, ...]:
    """Say what going on costs, in lines: which fires may be skipped or repeated."""
    anew = [one for one in shards if one.remedy is Remedy.ANEW]
    kept = [one for one in shards if one.remedy is Remedy.REBIND]
    lines: list[str] = []
    if kept:
        lines.append(
            f"{_names(kept)} keeps its jobs and goes on where it was: no fire is skipped, none is sent twice;"
            " commands not obeyed yet are gone"
        )
    if anew:
        lines.append(
            f"{_names(anew)} begins anew: nothing planned up to now, {to_text(anew[0].until)}, goes out any"
            " more, and nothing until the next `dispatcher run` takes the schedule file as new; none is sent"
            " twice, commands not obeyed yet are dropped. Of these fires those are skipped that no job topic"
            " holds:"
        )
        lines += [one.skipped() for one in anew]
    return tuple(lines)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a shard was found to stand on once it was fenced: its records and the ends of its partitions.

    `told` is the highest number of a change that the events tell of, `commands` the end of its commands.
    """

    latest: Mapping[bytes, bytes]
    first: int
    commands: int
    told: int


def beginnings(facts: Facts, findings: Iterable[Finding], now: Instant) -> tuple[Beginning, ...]:
    """Return how each shard concerned goes on; empty when a finding is beyond any remedy."""
    known = {shard.number: shard for shard in facts.by_shard}
    sent = [shard.sent.planned for shard in facts.by_shard if shard.sent is not None]
    until = max([now, *sent])
    found: dict[int, Finding] = {}
    for finding in findings:
        if finding.remedy is Remedy.NONE:
            return ()
        for number in range(facts.shards) if finding.shard is None else (finding.shard,):
            found.setdefault(number, finding)
    if any(one.trouble is Trouble.RESHARDED for one in found.values()):  # jobs change shards: all of them
        anew = next(one for one in found.values() if one.trouble is Trouble.RESHARDED)
        found = {number: found.get(number, anew) for number in range(facts.shards)}
    return tuple(
        _beginning(known.get(number, ShardFacts(number)), found[number], until) for number in sorted(found)
    )


def ledger_records(one: Beginning, ground: Ground, identity: Identity, encoder: Encoder) -> list[Outgoing]:
    """Return the records of the one transaction that lets a shard go on; its position stands last."""
    facts = tuple(_readable(ground.latest))
    number = max([ground.told, *_numbers(facts)]) + 1
    if one.remedy is Remedy.REBIND:
        draft = _rebound(one, ground, facts, identity)
    else:
        draft = _anew(one, ground, identity, number)
    gone = [] if one.remedy is Remedy.REBIND else [key for key in ground.latest if key not in _KEPT]
    outgoing = encoder.batch(draft, one.until).outgoing
    ledger, _, _, shard, _ = outgoing[-1]
    return [*((ledger, None, key, shard, None) for key in gone), *outgoing]


def number_told(kind: str, data: Mapping[str, object]) -> int:
    """Return the number of the change an event tells of, 0 for none."""
    number = data.get("change")
    return number if isinstance(number, int) and not kind.startswith("run.") else 0


def _names(shards: Sequence[Beginning]) -> str:
    numbers = ", ".join(str(one.shard) for one in shards)
    return f"shard {numbers}" if len(shards) == 1 else f"each of the shards {numbers}"


def _beginning(shard: ShardFacts, finding: Finding, until: Instant) -> Beginning:
    rebound = finding.remedy is Remedy.REBIND
    position, sent = shard.position, shard.sent
    if rebound:
        after: Instant | None = until
    elif position is not None:
        after = min([position.cursor.due, *(interval.start.due for interval in position.backlog)]) - 1
    else:
        after = None if sent is None else sent.planned - 1
    if after is not None and after < 0:
        after = None  # the shard never fired
    backlog = not rebound and position is None
    return Beginning(shard.number, finding.trouble, finding.remedy, after, until, backlog, sent)


def _anew(one: Beginning, ground: Ground, identity: Identity, number: int) -> Draft:
    position = Position(
        Cursor(one.until),
        revision="",
        change=number,
        commands=ground.commands,
        effective_from=one.until,
        first=ground.first,
    )
    data = {
        "reason": str(one.trouble),
        "change": number,
        "after": None if one.after is None else to_text(one.after),
        "until": to_text(one.until),
        "backlog": one.backlog,
    }
    event = Event("ledger.recovered", f"ledger.recovered/{one.shard}/{number}", "", data)
    return Draft("recover", position, events=[event], facts=[identity])


def _rebound(one: Beginning, ground: Ground, facts: Sequence[Fact], identity: Identity) -> Draft:
    """Keep the rules of time as they were: the next owner notes it when they have changed."""
    before = next(fact for fact in facts if isinstance(fact, Identity))
    position = next(fact for fact in facts if isinstance(fact, Position))
    bound = replace(identity, tzdata=before.tzdata, engine=before.engine)
    data = {"reason": str(one.trouble), "cursor": to_text(position.cursor.due)}
    event = Event("ledger.rebound", f"ledger.rebound/{one.shard}/{to_text(one.until)}", "", data)
    return Draft("rebind", position._replace(commands=ground.commands), events=[event], facts=[bound])


def _readable(latest: Mapping[bytes, bytes]) -> Iterator[Fact]:
    """Yield what can be read of a ledger that may be damaged."""
    for key, value in latest.items():
        try:
            yield decode(key, value)
        except LedgerUnfit:
            continue  # it is given up with the rest; only the numbers of changes are asked for here


def _numbers(facts: Iterable[Fact]) -> Iterator[int]:
    for fact in facts:
        match fact:
            case Position():
                yield from (fact.change, *fact.abandoned)
            case JobVersions():
                yield from (version.change for version in fact.versions)
            case Change():
                yield fact.number
