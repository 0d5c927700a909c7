"""What must hold in every world, looked at whenever somebody could see something.

The oracle hears what leaves a host, what its disk has committed and what the broker holds. It trusts no state
of the programs: what was said it compares with what is durable, and models it computes again by itself.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, isclose

import numpy as np

from aggregator.aggregation.survey import CLIP, CLIPPED, EXACT
from aggregator.core.verdicts import Verdict
from aggregator.ledger.layout import KEPT
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import OpenRound
from fedge.data.moments import Moments
from fedge.errors import ProtocolError
from fedge.nn.spec import Standardize
from fedge.transport import MessageArrived, Publication
from fedge.wire.capabilities import BASE
from fedge.wire.frames import join
from fedge.wire.freshness import Attempt, RoundId, round_of
from fedge.wire.messages.envelope import Signed
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob, Frame
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.selection import chosen
from fedge.wire.topics import Topics
from fleet.simulator import twins
from fleet.simulator.books import Book, SpooledFrame
from fleet.simulator.broker import Message
from fleet.simulator.fastpaths import decode
from fleet.simulator.figures import FIGURES, plain_column, plain_figures
from fleet.simulator.invariants import Invariant, Violation

LIAR = "liar"
"""The name of who is no device."""
LATENESS_S = 5.0
"""What a message may take on its way."""
MISSES = 2
"""So many deadlines of rounds that had their quorum may pass in a row for one device's sake."""
AGAIN = 10
"""So many rounds after the last of them there may be another one."""
BURNT = 1
"""So many numbers of generations a single device may burn at each new one."""
INSTANT_S = 0.05
"""What a program may take to notice that time has passed."""
SILENCE_S = 15.0
"""Whoever says nothing for so long is no aggregator at work."""


@dataclass(frozen=True)
class Made:
    """An update or survey that a device's trainer made, or a liar's."""

    device: str
    round: RoundId
    message: Update | Survey


@dataclass(frozen=True)
class Announced:
    """A manifest as it was published."""

    at_s: float
    manifest: Manifest


@dataclass(frozen=True)
class Ending:
    """When learning is over."""

    rounds: int
    accuracy: float


NEVER = Ending(2**31 - 1, 2.0)


class Oracle:
    """Everything that was promised, announced and made in one world.

    Args:
        topics: the federation's.
        now_s: virtual seconds.
        quorum: below which no round may close; None: each attempt's own, which it begins with.
        deadline_s: of each attempt.
        ending: when learning may end.
        clips: differences are clipped.
    """

    def __init__(
        self,
        topics: Topics,
        now_s: Callable[[], float],
        quorum: int | None,
        deadline_s: float = 0.0,
        ending: Ending = NEVER,
        *,
        clips: bool = True,
    ) -> None:
        self.made: dict[bytes, Made] = {}
        self.closed_s = 0.0
        """When the last round was closed."""
        self.announced: list[Announced] = []
        self._held = (0, 0, 0)
        """Generation, round and attempt of the newest announcement that the broker has held."""
        self._lasts_s: dict[str, float] = {}
        """When the seconds of an announced round and attempt have run out."""
        self._topics, self._now_s, self._quorum, self._clips = topics, now_s, quorum, clips
        self._deadline_s = deadline_s
        self._linked: set[str] = set()
        """Aggregators at work that know that they are connected."""
        self._up_s = -inf
        """When one last became connected."""
        self._lifts = 0
        self._counts_s: dict[str, float] = {}
        """When each device was set aside, or was let count again, last."""
        self._linked_s, self._counted_s = 0.0, 0.0
        """How long there had been any, and when that was counted."""
        self._ending = ending
        self.liars: set[str] = set()
        """Whose word is worth nothing."""
        self._told: dict[RoundId, dict[str, float]] = {}
        """Which accuracies the devices told that count in a round."""
        self.several_until_s = -inf
        """Until then several aggregators may have been at work, each over the other's frames."""
        self._receipts: dict[tuple[str, bytes], set[str]] = {}
        self._said: dict[tuple[str, RoundId, bytes], bytes] = {}
        """Which update each device has published of a round, and of what that was made from."""
        self._void: set[bytes] = set()
        """Updates that were refused because they were made from another aggregator's model."""
        self._bases: dict[tuple[str, RoundId], tuple[bytes, bytes | None]] = {}
        """What each device has heard that a round is made from."""
        self._changes: dict[str, int] = {}
        """How often the signing key was changed, as far as each device has heard."""
        self._outbox: dict[str, set[bytes]] = {}
        self._newest_heard: dict[str, RoundId] = {}
        self._saw: dict[Hashable, RoundId] = {}
        """The newest round that is durable on each disk as one that its device has seen."""
        self._started: set[str] = set()
        self._first_disks: set[Hashable] = set()
        """Those that devices began with; on others a model may lie that is newer than the rest."""
        self._models: dict[bytes, RoundId] = {}
        """The round that each model closed, by its digest."""
        self._heard_in_time: dict[str, set[RoundId]] = {}
        self._genuine: set[bytes] = set()
        """Announcements as the aggregator said them."""
        self._orphaned: set[bytes] = set()
        """Those of a ledger that is lost."""
        self._online_s = -inf
        """When an aggregator last said that it is online, as the broker heard it."""
        self._told_s: dict[str, float] = {}
        """When the broker last heard a status of each device."""
        self.aside: dict[str, RoundId] = {}
        """Devices that are set aside, and the round that was open then: in none after it do they count."""
        self._address = lru_cache(maxsize=None)(topics.parse)  # the same few come by again and again

    # ── the aggregator ─────────────────────────────────────────────────────────────────────────────

    def ledger_committed(
        self, ledger: LedgerReader, book: Book, rounds: set[RoundId], frames: set[SpooledFrame]
    ) -> None:
        """A transaction is durable: verdicts in these rounds, these frames, and perhaps a closed round."""
        if rounds:
            book.answer_s = self._now_s()
        for round_id in rounds:
            answers = ledger.answers(round_id)
            self._set_aside(ledger, book, round_id, answers)
            for device, answer in answers.items():
                book.answers[device, answer.digest] = answer.verdict
                if answer.verdict == "admitted":
                    book.awaited.pop(device, None)
                    book.absent_s.pop(device, None)
                if answer.reason is Reason.QUARANTINED and device in self.aside:
                    book.promised.get(round_id, {}).pop(device, None)  # as its operator wanted it
        life = ledger.life()
        closed = ledger.last_closed(life.generation) if life is not None else None
        if closed is not None and closed != max(book.closed, default=None):
            self._round_closed(ledger, book, closed)
            self._rounds_stay_what_they_are(ledger, closed.generation)
            for device, partial in ledger.partials().items():
                held = {(device, partial.id, i) for i in range(partial.n) if partial.have >> i & 1}
                if held & book.spooled - frames:  # what came with this transaction came after the closing
                    raise Violation(
                        Invariant.PARTIALS_DROPPED,
                        f"round {closed} is closed, and the partial update of {device} is kept",
                    )
        book.spooled |= frames

    def aggregator_says(self, ledger: LedgerReader, book: Book, piece: Publication) -> None:
        """A publication leaves the aggregator."""
        address = self._address(piece.topic)
        if address is None or not piece.payload:
            return
        if address.kind == "receipt" and address.device is not None:
            self._promise(book, address.device, decode(piece.payload, Receipt))
        elif address.kind == "round":
            self._genuine.add(piece.payload)
            self._announce(ledger, book, _opened(piece.payload))

    def aggregator_answers(self, book: Book, piece: Publication) -> None:
        """An answer is on its way: of what the aggregator refuses or asks for again it keeps no more."""
        address = self._address(piece.topic)
        if address is not None and address.kind == "receipt" and address.device is not None:
            book.answered.add((address.device, decode(piece.payload, Receipt).update))

    def aggregator_acknowledges(self, book: Book, message: MessageArrived) -> None:
        """A PUBACK leaves the aggregator: the frame is spooled, or was answered."""
        address = self._address(message.topic)
        if address is None or address.kind != "update" or address.device in (None, LIAR):
            return  # of a liar, what is beyond its allowance is dropped
        try:
            frame = decode(message.payload, Frame)
        except ProtocolError:
            return
        key = (address.device, frame.id)
        if key in book.answers or key in book.answered:
            return
        if (*key, frame.i) not in book.spooled:
            raise Violation(
                Invariant.ACKNOWLEDGED_WHEN_DURABLE,
                f"frame {frame.i} of {address.device}'s update {_short(frame.id)} is acknowledged, and a "
                "crash now would forget it",
            )

    def aggregator_watched(self, since_s: float) -> None:
        """It looked on since then, and now begins or is dead: it waits for nobody who was silent for long."""
        if self._now_s() > max(since_s, self._online_s + SILENCE_S) + LATENESS_S:
            raise Violation(
                Invariant.TAKEOVER_IN_TIME,
                f"an aggregator watches for {self._now_s() - since_s:.1f} s, and the last that another one "
                f"said was {self._now_s() - self._online_s:.1f} s ago",
            )

    def aggregator_hears(self, book: Book, message: MessageArrived) -> None:
        """A message is before an aggregator at work: in the dark it comes long after the broker had it."""
        address = self._address(message.topic)
        if address is None or address.kind != "status" or address.device is None:
            return
        with suppress(ProtocolError):
            status = decode(message.payload, Status)
            says = (status.online, status.declined)
            if book.heard.get(address.device, (None,))[0] != says:
                book.heard[address.device] = (says, self._now_s())

    def sets_aside(self, device: str, known: RoundId) -> None:
        """An operator puts a device on the list, while this is the newest round of one of the ledgers."""
        self.aside[device] = max(known, self.aside.get(device, known))
        self._counts_s[device] = self._now_s()

    def lifts(self, device: str) -> None:
        """An operator lets a device count again: who was refused in the open attempt may need another one."""
        self._lifts += 1
        self.aside.pop(device, None)
        self._counts_s[device] = self._now_s()

    def aggregator_linked(self, name: str, *, up: bool) -> None:
        """An aggregator at work knows that it is connected, or that it is not."""
        self._linked_s, self._counted_s = self._connected_s, self._now_s()
        (self._linked.add if up else self._linked.discard)(name)
        if up:
            self._up_s = self._now_s()

    @property
    def _connected_s(self) -> float:
        """How long there has been an aggregator that knew that it was connected, all in all."""
        return self._linked_s + (self._now_s() - self._counted_s if self._linked else 0.0)

    def attempt_begins(self, book: Book, attempt: Attempt) -> None:
        """It is durable: the time of the one before has passed, no model came, or somebody counts again."""
        before = book.attempt
        passed_s = self._connected_s - book.linked_s
        follows = before is not None and before.round == attempt.round and before.number < attempt.number
        early = book.tried != before and book.lifts == self._lifts
        if follows and early and passed_s < self._deadline_s - INSTANT_S:
            raise Violation(
                Invariant.DEADLINE_WITH_A_LINK,
                f"attempt {attempt.number} of round {attempt.round} begins after {passed_s:.1f} s with a "
                f"connection; the deadline is {self._deadline_s:.0f} s",
            )
        book.attempt, book.linked_s, book.lifts = attempt, self._connected_s, self._lifts

    def aggregator_closes(self, ledger: LedgerReader, book: Book, retained: dict[str, Message]) -> None:
        """It begins to close the open round; whom has it waited for until the deadline?"""
        assert book.attempt is not None
        round_id, number = book.attempt
        saved, answers = ledger.round_as_saved(round_id), ledger.answers(round_id)
        if saved is None or book.tried == book.attempt:  # said, and not begun, before a crash
            return
        book.tried = book.attempt
        enough_s = MISSES * self._deadline_s / 2 - INSTANT_S
        book.given_up[round_id] = frozenset(d for d, seconds in book.absent_s.items() if seconds >= enough_s)
        late_s, passed_s = self._now_s() - book.over_s, self._connected_s - book.linked_s
        waited, unclear = list[str](), False
        for each in self._told_s:
            if self._topics.status(each) not in retained and each not in answers:
                unclear = True  # the broker has lost what it said, and the aggregator goes by what it heard
                book.absent_s[each] = book.absent_s.get(each, 0.0) + passed_s
        for topic, message in retained.items():
            address = self._address(topic)
            if address is None or address.kind != "status" or address.device in (None, *answers):
                continue
            device = address.device
            assert device is not None
            if self._now_s() < self._told_s.get(device, -inf) + LATENESS_S:
                unclear = True  # the aggregator may not have heard it yet
            try:
                status = decode(message.payload, Status)
            except ProtocolError:
                unclear = True  # what was heard of that device before counts, and this is not known here
                continue
            book.absent_s[device] = book.absent_s.get(device, 0.0) + passed_s
            if self._now_s() < self._counts_s.get(device, -inf) + INSTANT_S or (
                book.heard.get(device, (None,))[0] != (status.online, status.declined)
            ):
                unclear = True  # the aggregator may go by what it knew before
            if device in self.aside:
                continue
            no = status.declined
            declines = no is not None and (round_of(no), no.attempt) == (round_id, number)
            if status.online and not declines and chosen(saved.cohorts[-1], *round_id, number, device):
                waited.append(device)
        if late_s < -INSTANT_S or not waited or unclear:
            return
        if book.answer_s == self._now_s():  # the last one whom it waited for has answered, just in time
            return
        before = {device: book.awaited.get(device, ()) for device in waited}
        if all(_is_enough(rounds, round_id) for rounds in before.values()):
            raise Violation(
                Invariant.NO_WAIT_IN_VAIN, f"round {round_id} waits until its deadline for {before}, again"
            )
        # Who came, or was let count again, or the connection, in the second half of the deadline: that is
        # held against nobody. Whoever was given up was not waited for.
        latest_s = self._now_s() - self._deadline_s / 2 - LATENESS_S
        for device, rounds in before.items():
            came_s = max(self._up_s, book.heard[device][1], self._counts_s.get(device, -inf))
            if came_s <= latest_s and not _is_enough(rounds, round_id):
                book.awaited[device] = (*rounds, round_id)

    def _promise(self, book: Book, device: str, receipt: Receipt) -> None:
        self._receipts.setdefault((device, receipt.update), set()).add(receipt.verdict)
        if receipt.reason is Reason.WRONG_BASE:
            self._void.add(receipt.update)
        if receipt.verdict != "admitted" or receipt.update in book.set_aside:
            return  # that one was said before it was set aside, and waited
        if book.answers.get((device, receipt.update)) != "admitted":
            raise Violation(
                Invariant.RECEIPT_WHEN_DURABLE,
                f"{device} is told that its update {_short(receipt.update)} counts, and a crash now would "
                "forget it",
            )
        promised = book.promised.setdefault(round_of(receipt), {})
        if promised.setdefault(device, receipt.update) != receipt.update:
            raise Violation(
                Invariant.ONE_UPDATE_COUNTS,
                f"{device} is told of two updates that both count in round {round_of(receipt)}",
            )
        closed = book.part.get(round_of(receipt))
        if closed is not None and device not in closed:
            raise Violation(
                Invariant.PROMISE_KEPT,
                f"{device} is told that it counts in round {round_of(receipt)}, closed without it",
            )

    def _announce(self, ledger: LedgerReader, book: Book, manifest: Manifest) -> None:
        here = round_of(manifest)
        if (before := book.last) is not None:
            if (*here, manifest.attempt) < (*round_of(before), before.attempt):
                raise Violation(
                    Invariant.ROUNDS_IN_ORDER,
                    f"round {here}.{manifest.attempt} is announced after {_name(before)}",
                )
            if here == round_of(before) and manifest.state == before.state:
                for what in ("task", "model", "kind"):
                    if getattr(manifest, what) != getattr(before, what):
                        raise Violation(
                            Invariant.ROUND_STAYS_AS_ANNOUNCED,
                            f"the {what} of round {here} is announced anew, and is another",
                        )
        if manifest.model is not None:
            base = here if manifest.state == "done" else here._replace(round=here.round - 1)
            if book.closed.get(base) != manifest.model.digest:
                raise Violation(
                    Invariant.MODEL_WHEN_DURABLE,
                    f"round {here} announces the model {_short(manifest.model.digest)} after round {base}, "
                    "and a crash now would forget it",
                )
        saved = ledger.round_as_saved(here)
        if saved is None or saved.cohorts[-1] != manifest.cohort:
            raise Violation(
                Invariant.COHORT_WHEN_DURABLE,
                f"round {_name(manifest)} announces a cohort that a crash now would forget",
            )
        if manifest.state == "open" and saved.attempt == manifest.attempt:
            quorum = book.quorums.setdefault((here, saved.attempt), self._quorum_of(saved))
            if quorum != self._quorum_of(saved):
                raise Violation(
                    Invariant.QUORUM,
                    f"attempt {saved.attempt} of round {here} took {quorum} updates when it began, and takes "
                    f"{self._quorum_of(saved)} now",
                )
        if manifest.state == "done":
            self._learning_may_end(book, here)
        book.last = manifest
        book.over_s = self._now_s() + manifest.seconds_left
        self.announced.append(Announced(self._now_s(), manifest))
        lasts_s = self._now_s() + manifest.seconds_left
        self._lasts_s[_name(manifest)] = max(lasts_s, self._lasts_s.get(_name(manifest), 0.0))

    def _quorum_of(self, saved: OpenRound | None) -> int:
        """The updates that a round takes, as the ledger has it."""
        if self._quorum is not None:
            return self._quorum
        if saved is None or (saved.quorum is None and saved.kind != KEPT):
            raise Violation(
                Invariant.QUORUM, f"{saved} has no quorum of its own, and a crash now would forget it"
            )
        return saved.quorum or 0

    def _round_closed(self, ledger: LedgerReader, book: Book, round_id: RoundId) -> None:
        if book.closed and round_id <= max(book.closed):
            raise Violation(
                Invariant.ROUNDS_IN_ORDER, f"round {round_id} is closed after round {max(book.closed)}"
            )
        counted = {
            d: answer for d, answer in ledger.answers(round_id).items() if answer.verdict == "admitted"
        }
        for device, since in self.aside.items():
            if device in counted and round_id > since:
                raise Violation(
                    Invariant.NONE_THAT_IS_SET_ASIDE,
                    f"{device} counts in round {round_id}, and is set aside since {since}",
                )
        for device, digest in book.promised.get(round_id, {}).items():
            if digest in book.set_aside:
                continue
            if device not in counted or counted[device].digest != digest:
                raise Violation(
                    Invariant.PROMISE_KEPT,
                    f"{device} was told that it counts in round {round_id}, and it does not",
                )
        saved = ledger.round_as_saved(round_id)
        kept = saved is not None and saved.kind == KEPT
        only_measured = saved is not None and saved.kind == "evaluate"
        quorum = self._quorum_of(saved)
        if len(counted) < quorum and not (kept or only_measured):
            raise Violation(
                Invariant.QUORUM, f"round {round_id} is closed with {len(counted)} updates of {quorum}"
            )
        for device, answer in counted.items():
            made = self.made.get(answer.digest)
            if made is None or (made.device, made.round) != (device, round_id):
                raise Violation(
                    Invariant.UPDATE_OF_THIS_ROUND,
                    f"an update of {made} counts as {device}'s in round {round_id}",
                )
            if answer.digest in book.set_aside:
                raise Violation(
                    Invariant.NONE_THAT_IS_SET_ASIDE,
                    f"{device}'s update of round {round_id} counts, and was set aside",  # nosec B608 # no SQL
                )
            if answer.digest in book.counted:
                raise Violation(
                    Invariant.ONE_UPDATE_COUNTS, f"{device}'s update of round {round_id} counts twice"
                )
            if answer.samples != made.message.samples:
                raise Violation(
                    Invariant.SAMPLES,
                    f"{device} has {made.message.samples} samples, {answer.samples} are counted",
                )
            book.counted[answer.digest] = round_id
        digest, body = _newest_model(ledger, book.made if only_measured else round_id)
        if only_measured:
            self._measured(book, round_id, digest, counted)
        elif round_id.round:
            self._trained(ledger, book, round_id, counted, body)
        if not kept:
            made_by = book.part[book.made] if only_measured else ()
            told = [self.made[answer.digest] for answer in counted.values()]
            self._figures_hold(ledger, round_id, told, max(min(2, len(made_by)), ceil(len(made_by) / 2)))
        if kept and body != self._wished(book, round_id.generation):
            raise Violation(
                Invariant.BEGINNING,
                f"generation {round_id.generation} begins with another model than was wanted",
            )
        book.closed[round_id], book.bodies[round_id] = digest, body
        if not only_measured:
            book.made = round_id
        self._models.setdefault(digest, round_id)
        self._best_is_kept(ledger, book, round_id)
        book.part[round_id] = frozenset(counted)
        self.closed_s = self._now_s()

    def _measured(self, book: Book, round_id: RoundId, digest: bytes, counted: Mapping[str, Verdict]) -> None:
        """A round that only measures comes when learning is over, takes no vector and leaves the model."""
        before = round_id._replace(round=round_id.round - 1)
        if before != book.made or book.closed.get(before) != digest:
            raise Violation(
                Invariant.MEASURING_CHANGES_NOTHING,
                f"round {round_id} only measures, and does not leave the model of round {before}",
            )
        self._learning_may_end(book, before)
        book.measured.add(round_id)
        for update in self._updates(counted.values()):
            if update.body or update.kind != "figures":
                raise Violation(
                    Invariant.MEASURING_CHANGES_NOTHING,
                    f"{update.device} trained in round {round_id}, which only measures",
                )

    def _best_is_kept(self, ledger: LedgerReader, book: Book, round_id: RoundId) -> None:
        """Of the models whose held-out loss was told, the one with the lowest is there to be exported."""
        loss, of = ledger.summary(round_id).get("held_loss"), round_id._replace(round=round_id.round - 1)
        best = book.best.get(round_id.generation)
        if loss is not None and round_id.round and (best is None or loss < best[1]):
            best = book.best[round_id.generation] = (of, loss)
        if best is not None and best[0].round not in ledger.kept_models(round_id.generation):
            raise Violation(
                Invariant.BEST_MODEL_KEPT,
                f"the best model is that of round {best[0]}, and the ledger does not keep it",
            )

    def _wished(self, book: Book, generation: int) -> bytes:
        """The vector that a generation without a survey is to begin with."""
        wish = book.wishes.get(generation)
        if wish is None:
            raise Violation(
                Invariant.BEGINNING, f"generation {generation} goes back to a model, and nobody wanted that"
            )
        newest = max(book.closed)
        if wish.round is None:
            return book.bodies[newest]
        source = newest._replace(round=wish.round)
        if not wish.without:
            return book.bodies[source]
        total: list[float] = []
        for number in range(source.round + 1, newest.round + 1):
            here = newest._replace(round=number)
            before = twins.numbers(book.bodies[here._replace(round=number - 1)])
            if here in book.measured:
                continue
            made = [self.made[digest] for digest, in_round in book.counted.items() if in_round == here]
            left = [each.message for each in made if each.device not in wish.without]
            updates = [one for one in left if isinstance(one, Update)]
            mean = twins.mean(twins.counted(updates, before, clips=self._clips))
            total = [t + m - w for t, m, w in zip(total, mean, before, strict=True)] if total else mean
        return np.array(total).astype("<f4").tobytes()

    def _trained(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, counted: dict[str, Verdict], body: bytes
    ) -> None:
        """The model of a training round is the mean within its bounds, and usable."""
        base = twins.numbers(book.body)
        parts = twins.counted(self._updates(counted.values()), base, clips=self._clips)
        usual = book.usual.get(round_id.generation, 0.0)
        furthest = twins.MAX_NORM * max(usual, book.moved) if usual else 0.0
        norms = sorted(part.norm for part in parts)
        if 0 < furthest < norms[-1]:
            raise Violation(
                Invariant.DISTANCE, f"an update counts in round {round_id} that is {norms[-1]} from its base"
            )
        expected = twins.mean(parts)
        if expected != twins.numbers(body):
            raise Violation(
                Invariant.MEAN, f"the model of round {round_id} is not the mean of what was admitted"
            )
        if not self._judge(ledger, round_id, base)(expected):
            raise Violation(Invariant.MODEL_USABLE, f"the model of round {round_id} is not usable")
        book.moved = twins.length(base, expected)
        if len(norms) > 1:
            book.usual[round_id.generation] = max(norms[(len(norms) - 1) // 2], usual)

    def _set_aside(
        self, ledger: LedgerReader, book: Book, round_id: RoundId, answers: Mapping[str, Verdict]
    ) -> None:
        """Only what makes the mean unusable is taken back, and all of it."""
        before = {
            d: a
            for d, a in answers.items()
            if book.answers.get((d, a.digest)) == "admitted"
            and not (a.reason is Reason.QUARANTINED and d in self.aside)  # as the operator wants it
        }
        gone = {device for device, answer in before.items() if answer.verdict != "admitted"}
        if not gone:
            return
        if any(before[device].reason is not Reason.SET_ASIDE for device in gone):
            raise Violation(
                Invariant.SETTING_ASIDE, f"in round {round_id} it is taken back that updates of {gone} count"
            )
        base = twins.numbers(book.body)
        judge = self._judge(ledger, round_id, base)
        caused = twins.causes(self._updates(before.values()), base, judge, clips=self._clips)
        if gone != caused:
            raise Violation(
                Invariant.SETTING_ASIDE,
                f"in round {round_id} updates of {gone} are set aside, because of {caused}",
            )
        book.set_aside |= {before[device].digest for device in gone}

    def _updates(self, answers: Iterable[Verdict]) -> list[Update]:
        made = [self.made[answer.digest].message for answer in answers]
        return [message for message in made if isinstance(message, Update)]

    def _judge(self, ledger: LedgerReader, round_id: RoundId, base: list[float]) -> twins.Usable:
        digest = ledger.newest("task", round_id.generation)
        assert digest is not None
        return twins.judge(decode(ledger.content(digest), Task), base)

    def set_aside(self, book: Book, round_id: RoundId) -> frozenset[str]:
        """Whose updates were set aside in a round."""
        made = [self.made[digest] for digest in book.set_aside]
        return frozenset(one.device for one in made if one.round == round_id)

    def _figures_hold(self, ledger: LedgerReader, round_id: RoundId, made: list[Made], count: int) -> None:
        """What the round brought is what its updates told, and its survey's layers are what those give.

        Of a round that only measures, `count` is half of those who have made its model, and not one of two.
        """
        updates = [one.message for one in made if isinstance(one.message, Update)]
        found = ledger.summary(round_id)
        plain = plain_figures(updates, count)
        for name, _, _ in FIGURES:
            here, value = found.get(name), plain.get(name)
            if (here is None) != (value is None) or not isclose(
                here or 0, value or 0, rel_tol=1e-9, abs_tol=1e-12
            ):
                raise Violation(
                    Invariant.FIGURES, f"the {name} of round {round_id} is {here}, and {value} was told"
                )
        self.note(round_id, made)
        surveys = [one.message for one in made if isinstance(one.message, Survey)]
        if surveys:
            digest = ledger.newest("task", round_id.generation)
            assert digest is not None
            task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
            layer = task.network.layers[0]
            assert isinstance(layer, Standardize)
            can, told = ledger.abilities(), {survey.device for survey in surveys} - self.liars
            unable = sorted(device for device in told if CLIP not in can.get(device, BASE))
            rule = ledger.rule(round_id)
            if (layer.rest is not None) != (rule == EXACT):
                raise Violation(
                    Invariant.STANDARDIZATION,
                    f"inputs are float64 after a survey that {rule} closed, or not after {EXACT}",
                )
            clipped = rule == CLIPPED or (rule == EXACT and layer.clip is not None)
            if (layer.clip is not None) != clipped or (layer.clip and unable):
                raise Violation(
                    Invariant.STANDARDIZATION,
                    f"inputs are clipped at {layer.clip}, and {unable} cannot do it",
                )
            moments = [Moments.from_bytes(survey.features, len(task.features)) for survey in surveys]
            for j, name in enumerate(task.features):
                mean, spread = plain_column(moments, j)
                honest = [
                    float(one.mean[j])
                    for survey, one in zip(surveys, moments, strict=True)
                    if survey.device not in self.liars and one.count[j] > 0
                ]
                far = max(min(honest) - layer.means[j], layer.means[j] - max(honest), 0) if honest[1:] else 0
                if far > 1e-6 * abs(layer.means[j]):
                    raise Violation(
                        Invariant.STANDARDIZATION,
                        f"column {name!r} has the mean {layer.means[j]}, far from {honest}",
                    )
                close = np.isclose(layer.means[j], mean, rtol=1e-6, atol=1e-30)
                if not close or (spread > 1e-3 and not np.isclose(layer.scales[j], spread, rtol=1e-6)):
                    raise Violation(
                        Invariant.STANDARDIZATION,
                        f"column {name!r} is {layer.means[j]} ± {layer.scales[j]} after the survey of "
                        f"generation {round_id.generation}, and {mean} ± {spread} is what it gives",
                    )

    def note(self, round_id: RoundId, made: list[Made]) -> None:
        """Remember which accuracies were told in a round."""
        self._told[round_id] = {
            one.device: one.message.metrics["accuracy_before"]
            for one in made
            if "accuracy_before" in one.message.metrics
        }

    def _learning_may_end(self, book: Book, here: RoundId) -> None:
        """Learning is over before its last round: then not because a single device says so.

        Of a round that only measured, it is the round before that ended it.
        """
        if here in book.measured:
            here = here._replace(round=here.round - 1)
        told = self._told.get(here, {})
        if here.round >= self._ending.rounds or max(told.values(), default=1.0) < self._ending.accuracy:
            return
        others = [accuracy for device, accuracy in told.items() if device not in self.liars]
        if max(others, default=0.0) < self._ending.accuracy:
            raise Violation(
                Invariant.END_OF_LEARNING,
                f"learning is over after round {here}, in which a single device tells an accuracy of "
                f"{max(told.values())}, and the others {max(others, default=0.0)} at most",
            )

    def _rounds_stay_what_they_are(self, ledger: LedgerReader, generation: int) -> None:
        """Each kept round can be computed again: nothing was added to its updates, and nothing lost."""
        for number in ledger.kept_rounds(generation):
            for device, answer in ledger.answers(RoundId(generation, number)).items():
                if answer.verdict == "admitted" and isinstance(
                    join(answer.digest, ledger.pieces(device, answer.digest)), Rejection
                ):
                    raise Violation(
                        Invariant.KEPT_ROUNDS_REPLAY,
                        f"{device}'s update of round {generation}.{number} is no longer what was admitted",
                    )

    def aggregator_begins(self, retained: dict[str, Message], known: RoundId | None) -> None:
        """It takes up a round; its ledger knew this one: not if a newer one has long been announced.

        What was announced with a key that was replaced since is no evidence: it might be stolen.
        """
        said = retained.get(self._topics.round)
        if said is None or said.payload not in self._genuine:
            return
        newest = round_of(_opened(said.payload))
        lain_s = self._now_s() - next(
            seen.at_s for seen in reversed(self.announced) if round_of(seen.manifest) == newest
        )
        if lain_s > LATENESS_S and (known is None or known < newest):
            raise Violation(
                Invariant.NEWEST_ROUND_TAKEN_UP,
                f"an aggregator takes up round {known}, and round {newest} is announced",
            )

    def generation_begins(self, number: int, known: RoundId | None) -> None:
        """An aggregator takes up a new generation, after the newest that its ledger knew.

        A single device that claims more moves the number by one.
        """
        newest = max(
            [(known or RoundId(0, 0)).generation, *(seen.manifest.generation for seen in self.announced)]
        )
        if number > newest + 1 + BURNT:
            raise Violation(
                Invariant.GENERATION_IN_REACH,
                f"generation {number} begins, and the newest that there was is {newest}",
            )

    def ledger_replaced(self) -> None:
        """Whoever serves next may not know in which slots that lies which is announced."""
        self._orphaned |= self._genuine

    @property
    def newest(self) -> Manifest | None:
        """The newest round that was ever announced, as it was announced last."""
        said = [seen.manifest for seen in self.announced]
        return max(said, key=lambda manifest: (*round_of(manifest), manifest.attempt), default=None)

    # ── devices ────────────────────────────────────────────────────────────────────────────────────

    def device_saved(self, device: str, digest: bytes) -> None:
        """An update is durable on the device."""
        self._outbox.setdefault(device, set()).add(digest)

    def device_learnt(self, device: str, digest: bytes, verdict: str) -> None:
        """A verdict is durable on the device."""
        if verdict not in self._receipts.get((device, digest), ()):
            raise Violation(
                Invariant.VERDICT_WAS_GIVEN,
                f"{device} believes that its update {_short(digest)} is {verdict}; nobody said so",
            )

    def outbox(self, device: str) -> frozenset[bytes]:
        """What is durable on a device now."""
        return frozenset(self._outbox.get(device, ()))

    def device_replaced(self, device: str, outbox: frozenset[bytes]) -> None:
        """Its state is wiped, or an older copy of it: with this in the outbox, and no memory of the rest."""
        self._outbox[device] = set(outbox)
        self._said = {key: digest for key, digest in self._said.items() if key[0] != device}
        self._newest_heard.pop(device, None)
        self._changes.pop(device, None)
        self._heard_in_time.pop(device, None)

    def device_saw(self, disk: Hashable, seen: RoundId | None) -> None:
        """It is durable on a disk that its device has seen a round; None: that it has to forget them."""
        self._saw[disk] = seen if seen is not None else RoundId(0, 0)

    def device_starts(self, device: str, disk: Hashable, seen: RoundId) -> None:
        """A device remembers what it saved, and no round that it only heard of."""
        if device not in self._started:
            self._first_disks.add(disk)
        self._started.add(device)
        if seen < (saved := self._saw.setdefault(disk, seen)):
            raise Violation(
                Invariant.SEEN_WHEN_DURABLE,
                f"{device} has saved that it saw round {saved}, and remembers {seen}",
            )
        self._newest_heard[device] = min(seen, self._newest_heard.get(device, seen))

    def device_says(self, device: str, disk: Hashable, piece: Publication, *, honest: bool = True) -> None:
        """A publication leaves a device; of one that was cloned, two lives may differ."""
        address = self._address(piece.topic)
        if address is not None and address.kind == "status" and disk in self._first_disks:
            holds = decode(piece.payload, Status).holds
            if holds in self._models and self._models[holds] > self._saw[disk]:
                raise Violation(
                    Invariant.SEEN_WHEN_DURABLE,
                    f"{device} follows the model of round {self._models[holds]}, and after a crash now would "
                    f"begin again from round {self._saw[disk]}",
                )
        if not honest or address is None or address.kind != "update":
            return
        frame = decode(piece.payload, Frame)
        if frame.id not in self._outbox.get(device, ()):
            raise Violation(
                Invariant.UPDATE_WHEN_DURABLE, f"{device} publishes an update that a crash now would forget"
            )
        made = self.made[frame.id]
        answer = (device, made.round, made.message.base)
        if self._said.get(answer) in self._void:
            del self._said[answer]
        if self._said.setdefault(answer, frame.id) != frame.id:
            raise Violation(
                Invariant.ONE_ANSWER, f"{device} publishes two different updates of round {made.round}"
            )
        if frame.i == 0 and made.round < self._newest_heard.get(device, made.round):
            raise Violation(
                Invariant.ANSWERS_THE_NEWEST_ROUND,
                f"{device} answers round {self._newest_heard[device]} with its update of round {made.round}",
            )

    def device_hears(self, device: str, payload: bytes) -> None:
        """A manifest reaches a device; whether it is still open then decides what it may begin."""
        if payload not in self._genuine:
            return  # a forgery, and nothing may follow from it
        manifest, changes = _opened(payload), len(decode(payload, Signed).chain or ())
        here = round_of(manifest)
        if changes < self._changes.get(device, 0):
            return  # signed with a key that this device knows to be replaced
        if changes > self._changes.get(device, 0):  # what earlier keys have announced counts no more
            self._changes[device] = changes
            self._newest_heard.pop(device, None)
            self._said = {
                key: digest for key, digest in self._said.items() if key < (device, here) or key[0] != device
            }
        base = (manifest.task.digest, manifest.model.digest if manifest.model is not None else None)
        if self._bases.get((device, here), base) != base:  # of another aggregator, which has another history
            self._said = {key: digest for key, digest in self._said.items() if key[:2] != (device, here)}
        self._bases[device, here] = base
        self._newest_heard[device] = max(here, self._newest_heard.get(device, here))
        if self._now_s() <= self._over_s(manifest) + LATENESS_S:
            self._heard_in_time.setdefault(device, set()).add(here)

    def work_begins(self, device: str, manifest: Manifest) -> None:
        """A device begins to survey or train: it must have heard of the round before that was over."""
        here = round_of(manifest)
        if here not in self._heard_in_time.get(device, ()):
            raise Violation(
                Invariant.WORK_IN_TIME,
                f"{device} begins to work on round {here}, of which it heard when it was over",
            )

    def _over_s(self, manifest: Manifest) -> float:
        """When a manifest's seconds have run out, in whichever words it was said last."""
        return self._lasts_s.get(_name(manifest), 0.0)

    # ── the broker ─────────────────────────────────────────────────────────────────────────────────

    def broker_holds(self, retained: dict[str, Message], topic: str) -> None:
        """Something retained has changed: whoever wakes now must be able to read what is announced."""
        address = self._address(topic)
        if address is None:
            return
        if address.kind == "service" and decode(retained[topic].payload, Service).online:
            self._online_s = self._now_s()
        if address.kind == "status" and address.device is not None:
            self._told_s[address.device] = self._now_s()
        if address.kind not in ("round", "task", "model"):
            return
        said = retained.get(self._topics.round)
        if said is None or said.payload in self._orphaned or self._now_s() < self.several_until_s:
            return
        manifest = _opened(said.payload)
        number = (*round_of(manifest), manifest.attempt)
        if number < self._held:
            return  # a broker that was killed has lost the newer one: it is said again, after its frames
        self._held = number
        for kind, blob, frame in (
            ("task", manifest.task, self._topics.task),
            ("model", manifest.model, self._topics.model),
        ):
            # A frame of another kind or slot than what is announced changes nothing that could be read.
            if blob is not None and (
                address.kind == "round" or (address.kind, address.slot) == (kind, blob.slot)
            ):
                self._readable(retained, kind, blob, frame)

    def _readable(
        self, retained: dict[str, Message], kind: str, blob: Blob, topic: Callable[[int, int], str]
    ) -> None:
        frames = [retained.get(topic(blob.slot, i)) for i in range(blob.frames)]
        whole = join(blob.digest, [decode(f.payload, Frame).data for f in frames if f is not None])
        if isinstance(whole, Rejection):
            raise Violation(
                Invariant.ANNOUNCED_IS_READABLE,
                f"the {kind} that is announced cannot be read: a device that wakes now is lost",
            )


def _is_enough(rounds: tuple[RoundId, ...], now: RoundId) -> bool:
    """Whether a round may not wait for a device for which these have waited in vain."""
    if len(rounds) < MISSES:
        return False
    return now.generation == rounds[-1].generation and now.round < rounds[-1].round + AGAIN


def _opened(payload: bytes) -> Manifest:
    """The manifest in its envelope."""
    manifest: Manifest = decode(decode(payload, Signed).body, Manifest)
    return manifest


def _newest_model(ledger: LedgerReader, round_id: RoundId) -> tuple[bytes, bytes]:
    digest = ledger.newest("model", round_id.generation)
    assert digest is not None
    model = unpack(ledger.content(digest), Model, max_bytes=MAX_SIZE)
    if round_of(model) != round_id:
        raise Violation(
            Invariant.MODEL_WHEN_DURABLE,
            f"round {round_id} is closed, and the newest model is of round {round_of(model)}",
        )
    return digest, model.body


def _short(digest: bytes) -> str:
    return digest.hex()[:8]


def _name(manifest: Manifest) -> str:
    return f"{round_of(manifest)}.{manifest.attempt}"
