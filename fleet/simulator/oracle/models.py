"""Check that each model is what the plain twins compute from the admitted updates."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np

from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import LedgerReader
from fedge.wire.freshness import RoundId
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason
from fleet.simulator import twins
from fleet.simulator.books import Book
from fleet.simulator.cluster_twins import closed as closed_by_cluster
from fleet.simulator.cluster_twins import divided, middle
from fleet.simulator.coding_twins import sent
from fleet.simulator.compositions import Composition
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.distances import note, require_near
from fleet.simulator.oracle.influence import require_few, require_influence
from fleet.simulator.oracle.record import Record
from fleet.simulator.round_twins import ServerState, closed, ruled, stepped


def vectors_of(model: Model) -> dict[str, list[float]]:
    """The vectors of a model by name."""
    more = {name: twins.numbers(body) for name, body in (model.vectors or {}).items()}
    return {"weights": twins.numbers(model.body), **more}


def _ruled(
    with_: Composition, state: ServerState, base: twins.Numbers, parts: Sequence[twins.Counted]
) -> twins.Numbers:
    return ruled(with_, parts, base, state)[0]


def _bytes(vector: list[float]) -> bytes:
    return np.array(vector).astype("<f4").tobytes()


class Models:
    """Computes the models of closed rounds again, and compares them."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def trained(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, counted: dict[str, Verdict], model: Model
    ) -> None:
        """Check that the model of a training round is usable, and is what the twins make of its updates."""
        with_, before = self._record.composition, self._record.vectors[book.closed[book.made]]
        base, updates = before["weights"], self.updates(counted.values())
        fleet = max(len(updates), self._fleet_before(book, round_id))
        if with_.clusters > 1:
            self._trained_by_cluster(ledger, book, round_id, updates, fleet, vectors_of(model))
            return
        late, state = self._late(book, round_id, updates), self._server_state(book, round_id)
        made = closed(with_, updates, before, state, fleet, late, clips=self._record.clips)
        for name, parts in made.parts.items():
            require_near(self._record, book, round_id, name, parts)
        judge = self._judge(ledger, round_id, base)
        announced = self._sent(ledger, book, round_id, {"weights": made.weights, **made.vectors}, judge)
        found = vectors_of(model)
        behind = max((each.staleness for each in late.values()), default=0)
        require_influence(self._record, round_id, base, made, made.weights, behind)
        if announced["weights"] != found["weights"]:
            raise Violation(
                Invariant.MEAN, f"the model of round {round_id} is not what its admitted updates make"
            )
        if found != announced:
            raise Violation(
                Invariant.HANDED_ON,
                f"the further vectors of the model of round {round_id} are not what its updates make",
            )
        if not judge(made.aggregate) or not judge(made.weights):
            raise Violation(Invariant.MODEL_USABLE, f"the model of round {round_id} is not usable")
        book.fleets[round_id], book.states[round_id] = fleet, made.state
        moved, aimed = twins.length(base, made.weights), twins.length(base, made.aggregate)
        for name, parts in made.parts.items():
            median = sorted(part.norm for part in parts)[(len(parts) - 1) // 2]
            if name != "weights":
                mean = made.means[name]
                moved, aimed = 0.0, twins.length([0.0] * len(mean), mean)
            note(book, round_id, name, median, len(parts), aimed, moved)

    def _trained_by_cluster(
        self,
        ledger: LedgerReader,
        book: Book,
        round_id: RoundId,
        updates: list[Update],
        fleet: int,
        found: Mapping[str, list[float]],
    ) -> None:
        """The same where there are several shared models."""
        with_, before = self._record.composition, self._record.vectors[book.closed[book.made]]
        clusters = divided(with_, updates, before)
        made = closed_by_cluster(with_, clusters, fleet, clips=self._record.clips)
        counts = tuple(len(each.updates) for each in clusters)
        judges = {each.name: self._judge(ledger, round_id, each.base) for each in clusters}
        announced = {name: each.weights for name, each in made.items()}
        if found != self._sent(ledger, book, round_id, announced, judges):
            raise Violation(
                Invariant.MEAN, f"the models of round {round_id} are not what their admitted updates make"
            )
        if ledger.clusters(round_id) != counts:
            raise Violation(
                Invariant.MEAN, f"round {round_id} counts {ledger.clusters(round_id)} devices, not {counts}"
            )
        whole = middle(clusters)
        assert whole is not None
        for each in clusters:
            own, judge = made[each.name], judges[each.name]
            if each.updates and not (judge(own.aggregate) and judge(own.weights)):
                raise Violation(
                    Invariant.MODEL_USABLE, f"the model {each.name} of round {round_id} is not usable"
                )
            if len(each.updates) < twins.FEWEST:
                require_few(self._record, round_id, each.base, whole, own.weights)
            else:
                require_influence(self._record, round_id, each.base, own, own.weights)
        parts = [part for each in made.values() for part in each.parts["weights"]]
        require_near(self._record, book, round_id, "weights", parts)
        moved = max(twins.length(each.base, made[each.name].weights) for each in clusters)
        aimed = max(twins.length(each.base, made[each.name].aggregate) for each in clusters)
        note(book, round_id, "weights", whole.norm, whole.updates, aimed, moved)
        book.fleets[round_id], book.states[round_id] = fleet, {}

    def begins(self, round_id: RoundId, model: Model) -> None:
        """Check that a generation begins with further vectors of zeros."""
        found = vectors_of(model)
        nothing = [0.0] * len(found.pop("weights"))
        for name in self._record.composition.models[1:]:
            if found.pop(name, nothing) == nothing:
                raise Violation(
                    Invariant.HANDED_ON, f"the model of round {round_id} has no {name}, or one of zeros"
                )
        if found != dict.fromkeys(self._record.composition.vectors, nothing):
            raise Violation(
                Invariant.HANDED_ON, f"the further vectors of the model of round {round_id} are not zeros"
            )

    def _server_state(self, book: Book, round_id: RoundId) -> ServerState:
        """The state of server optimizer and rule before a round: that of its generation's last training
        round."""
        known = [each for each in book.states if each < round_id and each.generation == round_id.generation]
        return book.states[max(known)] if known else {}

    def _sent(
        self,
        ledger: LedgerReader,
        book: Book,
        round_id: RoundId,
        made: Mapping[str, list[float]],
        judge: twins.Usable | Mapping[str, twins.Usable],
    ) -> Mapping[str, list[float]]:
        """The vectors that a round announces, where its updates make these; the ledger must say how it has
        coded them."""
        judges = judge if isinstance(judge, Mapping) else {"weights": judge}
        known = [each for each in book.sent if each < round_id and each.generation == round_id.generation]
        models = {each: self._record.vectors[digest] for each, digest in book.closed.items()}
        with_, before = self._record.composition, book.sent[max(known)] if known else None
        found = book.sent[round_id] = sent(with_, round_id, made, before, book.made, models, judges)
        saved = ledger.coding_of(round_id)
        key = None if saved is None or saved.key is None else saved.key
        if (saved is not None) != bool(found.errors) or key != (found.key and book.closed[found.key]):
            raise Violation(
                Invariant.CODED_AS_IT_SAYS,
                f"the model of round {round_id} has another coded form or key frame",
            )
        return found.announced

    def _fleet_before(self, book: Book, round_id: RoundId) -> int:
        """N, the number of devices of the fleet, as it was before a round.

        It stays what it was in the generation's last training round. In the first one it is the number of
        devices of which an answer was admitted in the generation, and not less than in the round of which the
        generation took the model. Answers of a round that was open when the next generation began are gone.
        """
        known = [each for each in book.fleets if each < round_id and each.generation == round_id.generation]
        if known:
            return book.fleets[max(known)]
        newest = max(book.wishes, default=round_id.generation)
        answered = {
            device
            for (device, digest), verdict in book.answers.items()
            if verdict == "admitted"
            and (made_for := self._record.made[digest].round).generation == round_id.generation
            and (round_id.generation == newest or made_for in book.bodies or made_for in book.measured)
        }
        source = book.sources.get(round_id.generation)
        if source is None:
            return len(answered)
        return max(len(answered), book.fleets.get(source) or self._fleet_before(book, source))

    def shared(self, model: Model) -> dict[str, bytes]:
        """The shared models in a message, by name."""
        there = {"weights": model.body, **(model.vectors or {})}
        return {name: there[name] for name in self._record.composition.models if name in there}

    def wished(self, book: Book, generation: int) -> dict[str, bytes]:
        """The shared models with which a generation without a survey must begin, by name."""
        wish = book.wishes.get(generation)
        if wish is None:
            raise Violation(
                Invariant.BEGINNING,
                f"generation {generation} begins with an earlier model, but no operator asked for it",
            )
        newest = max(book.closed)
        source = newest if wish.round is None else newest._replace(round=wish.round)
        book.sources[generation] = source
        if not wish.without or wish.round is None:
            kept = self._record.vectors[book.closed[source]]
            return {name: _bytes(kept[name]) for name in self._record.composition.models}
        if self._record.composition.clusters > 1:
            return self._wished_by_cluster(book, source, newest, wish.without)
        total: list[float] = []
        with_, first = self._record.composition, source._replace(round=source.round + 1)
        state = self._server_state(book, first)
        for number in range(first.round, newest.round + 1):
            here = newest._replace(round=number)
            before = twins.numbers(book.bodies[here._replace(round=number - 1)])
            if here in book.measured:
                continue
            made = [
                self._record.made[digest] for digest, in_round in book.counted.items() if in_round == here
            ]
            left = [each.message for each in made if each.device not in wish.without]
            updates = [one for one in left if isinstance(one, Update)]
            late = self._late(book, here, updates)
            parts = twins.counted(updates, before, late, clips=self._record.clips)
            share = len(updates) / book.fleets[here]
            aggregate, of_rule = ruled(with_, parts, before, state)
            mean, state = stepped(with_, before, aggregate, state, share)
            state = {**state, **of_rule}
            total = [t + m - w for t, m, w in zip(total, mean, before, strict=True)] if total else mean
        return {"weights": _bytes(total)}

    def _wished_by_cluster(
        self, book: Book, source: RoundId, newest: RoundId, without: Iterable[str]
    ) -> dict[str, bytes]:
        """The same with some devices left out, where there are several shared models."""
        with_, totals = self._record.composition, dict[str, list[float]]()
        for number in range(source.round + 1, newest.round + 1):
            here = newest._replace(round=number)
            if here in book.measured:
                continue
            before = self._record.vectors[book.closed[here._replace(round=number - 1)]]
            made = [self._record.made[digest] for digest, of in book.counted.items() if of == here]
            left = [each.message for each in made if each.device not in without]
            clusters = divided(with_, [one for one in left if isinstance(one, Update)], before)
            models = closed_by_cluster(with_, clusters, book.fleets[here], clips=self._record.clips)
            for name, each in models.items():
                triples = zip(totals.get(name, before[name]), each.weights, before[name], strict=True)
                totals[name] = [t + m - w for t, m, w in triples] if name in totals else each.weights
        return {name: _bytes(total) for name, total in totals.items()}

    def takes_back(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, answers: Mapping[str, Verdict]
    ) -> None:
        """Check that exactly the admitted updates which make the mean unusable are set aside."""
        before = {
            d: a
            for d, a in answers.items()
            if book.answers.get((d, a.digest)) == "admitted"
            and not (a.reason is Reason.QUARANTINED and d in self._record.aside)  # the operator asked for it
        }
        gone = {device for device, answer in before.items() if answer.verdict != "admitted"}
        if not gone:
            return
        if any(before[device].reason is not Reason.SET_ASIDE for device in gone):
            raise Violation(
                Invariant.SETTING_ASIDE,
                f"the updates of {gone}, which counted in round {round_id}, count no longer",
            )
        caused = self._causes(ledger, book, round_id, self.updates(before.values()))
        if gone != caused:
            raise Violation(
                Invariant.SETTING_ASIDE,
                f"in round {round_id} updates of {gone} are set aside, but the cause is {caused}",
            )
        book.set_aside |= {before[device].digest for device in gone}

    def _causes(self, ledger: LedgerReader, book: Book, round_id: RoundId, updates: list[Update]) -> set[str]:
        """The devices without which what the rule makes of these updates is usable."""
        with_ = self._record.composition
        model = self._record.vectors[book.closed[book.made]]
        clusters = divided(with_, updates, model)
        whole = middle(clusters) if with_.clusters > 1 else None
        caused: set[str] = set()
        state = self._server_state(book, round_id)
        for each in clusters:
            if each.updates:
                caused |= twins.causes(
                    each.updates,
                    each.base,
                    self._judge(ledger, round_id, each.base),
                    self._late(book, round_id, each.updates),
                    clips=self._record.clips,
                    combined=partial(_ruled, with_, state, each.base),
                    whole=whole,
                )
        return caused

    def set_aside(self, book: Book, round_id: RoundId) -> frozenset[str]:
        """The devices whose updates were set aside in a round."""
        made = [self._record.made[digest] for digest in book.set_aside]
        return frozenset(one.device for one in made if one.round == round_id)

    def _late(self, book: Book, round_id: RoundId, updates: Iterable[Update]) -> dict[str, twins.Late]:
        """The staleness and the base of each update that was made for an older round."""
        return {
            each.device: twins.Late(
                round_id.round - each.round,
                twins.numbers(book.bodies[round_id._replace(round=each.round - 1)]),
            )
            for each in updates
            if each.round < round_id.round
        }

    def updates(self, answers: Iterable[Verdict]) -> list[Update]:
        """The updates to which these verdicts belong."""
        made = [self._record.made[answer.digest].message for answer in answers]
        return [message for message in made if isinstance(message, Update)]

    def _judge(self, ledger: LedgerReader, round_id: RoundId, base: list[float]) -> twins.Usable:
        digest = ledger.newest("task", round_id.generation)
        assert digest is not None
        return twins.judge(decode(ledger.content(digest), Task), base)
