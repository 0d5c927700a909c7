"""Bytes up and down until a target accuracy, for every codec, on MNIST and on the watch data.

    python -m benchmarks.bytes_to_accuracy [--quick] [--json] [--fleets iid shards watch] [--jobs 1]
                                           [--folder out/bytes-to-accuracy] [--svg docs/images/bytes.svg]

MNIST is that of McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS: 100 devices with 600 rows, IID or with two label shards each, the network 784-200-200-10, C =
.1, E = 5, B = 10, to 97 % of the test rows. The rate is .2 for IID, where `float32` needs 15 rounds with the
first seed, 17 at .1 and more than 25 at .05; with two shards it is .1. The watches are those of `fedge demo`,
with its plan, C = 1, to 95 %. Messages are real and counted (`benchmarks.bytes_runs`). Every run has the same
number of rounds, also beyond the target.

A codec is judged by the runs of `float32` with the same seeds; the last accuracy is the mean of the last five
rounds. Goals, on MNIST but the first one everywhere: at least 4 times fewer bytes up with rounds to the
target that are, in the mean of five seeds, at most 10 % or two rounds more; at least 25 times fewer with a
last accuracy that is at most .5 points lower; at least 100 times fewer at most 1 point lower. With the
watches also at least 3.5 times fewer bytes down at no loss of rounds.

For comparison: Flower's messages for the same network, and the sizes that NVFlare's documentation names for
its quantized messages (NVIDIA FLARE, programming guide, "Message Quantization"), each as if its rounds were
those of `float32`.

The finished runs are kept in the folder, and the benchmark goes on from there when it is started again.
`--quick`: scikit-learn's digits on 20 devices, C = .5, one seed, 20 rounds, to 90 %; 4 times at no loss of
rounds, and 25 times at most 2 points lower, of 359 test rows.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import bytes_curves
from benchmarks.bytes_runs import PLAIN, Composition, Fleet, Job, Kept, Run, digits, mnist, run_all, watch
from benchmarks.machine import description
from benchmarks.verdict import Goal, arguments, judged

SEEDS, PAIRED_SEEDS = (1, 2, 3), (1, 2, 3, 4, 5)
LAST = 5
"""The number of last rounds whose mean is the last accuracy: single rounds are noisy."""
MORE_ROUNDS, MORE_SHARE = 2, 0.1
FEWER = 4.0
"""How many times fewer bytes up a codec has to take that loses no rounds."""
LOWER = ((25.0, 0.005), (100.0, 0.01))
"""How many times fewer, at how much less accuracy."""
DOWN = 3.5
"""How many times fewer bytes down where all devices take part in each round."""
FLOWER_BYTES, FLOWER_ARRAY_BYTES = 43, 175
"""Of an update of Flower 1.42.0 as its own functions write it (`recorddict_to_proto`): two metrics with the
record's names, and of each array its name, shape, type and NumPy's header of 128 bytes."""
NVFLARE = {"16-bit": 0.5, "8-bit": 0.2503, "4-bit": 0.1406}
"""Published parts of float32's bytes."""


def _topk(share: float, values: str) -> Composition:
    options = {"share": share, "values": values}
    return Composition(f"topk {share:.3g}, {values}", {"codec": "topk", "codec_options": options})


def _zlib(codec: str) -> Composition:
    return Composition(f"{codec}, zlib", {"codec": codec, "codec_options": {"entropy": "zlib"}})


def _models(coded: str) -> Composition:
    """Both directions coded."""
    up = _zlib("int4")
    return Composition(f"{up.name}; models {coded}", {**up.plan, "model_codec": coded})


COMPOSITIONS = (
    Composition(PLAIN, {"codec": PLAIN}),
    Composition("float16", {"codec": "float16"}),
    Composition("int8", {"codec": "int8"}, models_of="int8, zlib"),
    _zlib("int8"),
    Composition("int4", {"codec": "int4"}, models_of="int4, zlib"),
    _zlib("int4"),
    Composition("drive", {"codec": "drive"}),
    _topk(0.1, "int4"),
    _topk(0.025, "int4"),
    _topk(0.01, "int8"),
    _models("int8"),
    _models("int4"),
)
PAIRED = (PLAIN, "int8, zlib")
"""Those that run with five seeds."""


@dataclass(frozen=True)
class Case:
    """What is run, and what is asked of it."""

    fleet: Fleet
    seeds: tuple[int, ...]
    paired_seeds: tuple[int, ...]
    lower: tuple[tuple[float, float], ...]
    """Goals as in `LOWER`."""
    down: float | None = None
    """How many times fewer bytes down are asked of a codec of models that loses no rounds."""

    def jobs(self) -> list[Job]:
        """All runs, the first seed of all codecs first."""
        return [
            Job(self.fleet, one, seed)
            for seed in sorted({*self.seeds, *self.paired_seeds})
            for one in COMPOSITIONS
            if seed in self.seeds or one.name in PAIRED
        ]


@dataclass(frozen=True)
class Row:
    """What one composition needs in one fleet; means over the seeds."""

    name: str
    update_bytes: float
    """Of one update, with message and frames."""
    received_bytes: float
    """What a device receives for it."""
    fewer: float
    """Bytes of `float32`'s update for each byte."""
    fewer_down: float
    """As `fewer`, of the bytes that a device receives."""
    rounds: tuple[int | None, ...]
    """To the target, with each seed; None: it is not reached."""
    up_bytes: float | None
    """Sent by a device until the target; None: a seed does not reach it. A device that is not drawn sends
    none, so it is the fleet's sum, divided by its devices."""
    down_bytes: float | None
    """Received, as above."""
    last: tuple[float, ...]
    """The accuracy at the end, with each seed."""


def reached(run: Run, target: float) -> int | None:
    """The first round whose model reaches the target; None: there is none."""
    return next((number for number, found in enumerate(run.accuracy, 1) if found >= target), None)


def last(run: Run) -> float:
    """The mean accuracy of the last rounds."""
    return fmean(run.accuracy[-LAST:])


def row(runs: Sequence[Run], plain: Sequence[Run], target: float) -> Row:
    """What the runs of a composition need, beside those of `float32`."""
    rounds = tuple(reached(run, target) for run in runs)
    sent = [_until(run, run.up, count) for run, count in zip(runs, rounds, strict=True)]
    received = [_until(run, run.down, count) for run, count in zip(runs, rounds, strict=True)]
    update = fmean(run.update_bytes for run in runs)
    return Row(
        runs[0].composition,
        update,
        fmean(run.received_bytes for run in runs),
        fmean(run.update_bytes for run in plain) / update,
        fmean(run.received_bytes for run in plain) / fmean(run.received_bytes for run in runs),
        rounds,
        _mean(sent),
        _mean(received),
        tuple(last(run) for run in runs),
    )


def _until(run: Run, counted: Sequence[int], rounds: int | None) -> float | None:
    return None if rounds is None else sum(counted[:rounds]) / run.devices


def _mean(found: Sequence[float | None]) -> float | None:
    known = [each for each in found if each is not None]
    return fmean(known) if len(known) == len(found) else None


def rows(case: Case, kept: Kept) -> list[Row]:
    """A row for each composition, with the seeds that all have."""

    def runs(name: str) -> list[Run]:
        return [kept.runs[case.fleet.name, name, seed] for seed in case.seeds]

    plain = runs(PLAIN)
    return [row(runs(one.name), plain, case.fleet.target) for one in COMPOSITIONS]


def others(case: Case, found: Sequence[Row], weights: int) -> list[tuple[str, float]]:
    """Other frameworks, and the bytes of their updates."""
    arrays = 2 * sum(layer["type"] == "dense" for layer in case.fleet.study["model"]["layers"]) + 2
    flower = 4 * weights + FLOWER_ARRAY_BYTES * arrays + FLOWER_BYTES
    plain = next(one for one in found if one.name == PLAIN)
    return [
        ("Flower", flower),
        *((f"NVFlare {name}, published", part * plain.update_bytes) for name, part in NVFLARE.items()),
    ]


def pairs(case: Case, kept: Kept) -> dict[str, list[tuple[int, int]]]:
    """Rounds to the target of each paired composition and of `float32`, with each seed.

    A run that does not reach it counts as one round more than it has.
    """

    def rounds(name: str, seed: int) -> int:
        found = reached(kept.runs[case.fleet.name, name, seed], case.fleet.target)
        return case.fleet.rounds + 1 if found is None else found

    names = [name for name in PAIRED if name != PLAIN]
    return {name: [(rounds(name, seed), rounds(PLAIN, seed)) for seed in case.paired_seeds] for name in names}


def loses_none(paired: Sequence[tuple[int, int]]) -> bool:
    """Whether the mean number of rounds is at most `MORE_SHARE` or `MORE_ROUNDS` above that of `float32`."""
    own, plain = fmean(own for own, _ in paired), fmean(plain for _, plain in paired)
    return own <= max(plain * (1 + MORE_SHARE), plain + MORE_ROUNDS)


def _within(case: Case, one: Row, plain: Row) -> bool:
    """As `loses_none`, of the seeds that all compositions have."""
    most = case.fleet.rounds + 1
    counts = zip(one.rounds, plain.rounds, strict=True)
    return loses_none([(own or most, other or most) for own, other in counts])


def goals(case: Case, found: Sequence[Row], paired: Mapping[str, Sequence[tuple[int, int]]]) -> list[Goal]:
    """The goals of one fleet: for each, the codec that saves most and keeps the condition."""
    by_name = {one.name: one for one in found}
    keep = [by_name[name].fewer for name, counts in paired.items() if loses_none(counts)]
    name = case.fleet.name
    made = [Goal(f"{name}: times fewer bytes up at no loss of rounds", max(keep, default=0), at_least=FEWER)]
    plain = fmean(by_name[PLAIN].last)
    for fewer, less in case.lower:
        keep = [one.fewer for one in found if fmean(one.last) >= plain - less]
        made.append(
            Goal(f"{name}: times fewer, at most {100 * less:g} points lower", max(keep), at_least=fewer)
        )
    if case.down is not None:
        keep = [one.fewer_down for one in found if _within(case, one, by_name[PLAIN])]
        made.append(
            Goal(f"{name}: times fewer bytes down at no loss of rounds", max(keep), at_least=case.down)
        )
    return made


def table(
    case: Case, found: Sequence[Row], paired: Mapping[str, Sequence[tuple[int, int]]], weights: int
) -> str:
    """Format the rows in Markdown."""
    fleet, plain = case.fleet, fmean(found[0].last)
    lines = [
        f"{fleet.name}: {weights:,} weights, {fleet.rounds} rounds; the target is {fleet.target:.0%}",
        "",
        "| codec | update | of float32 | received | of float32 | rounds | KB up | KB down | last accuracy "
        "| lower by |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        ending = fmean(one.last)
        cells = (
            f"`{one.name}`" if one.name == PLAIN else one.name,
            f"{one.update_bytes:,.0f}",
            f"1/{one.fewer:.4g}",
            f"{one.received_bytes:,.0f}",
            f"1/{one.fewer_down:.3g}",
            ", ".join("–" if count is None else str(count) for count in one.rounds),
            _kilobytes(one.up_bytes),
            _kilobytes(one.down_bytes),
            f"{ending:.4f} ({min(one.last):.4f}–{max(one.last):.4f})",
            f"{100 * (plain - ending):+.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    plain_row = found[0]
    for name, size in others(case, found, weights):
        up = plain_row.up_bytes and plain_row.up_bytes * size / plain_row.update_bytes
        fewer = f"1/{plain_row.update_bytes / size:.4g}"
        told = (name, *2 * (f"{size:,.0f}", fewer), "as `float32`", *2 * (_kilobytes(up),), "", "")
        lines.append(f"| {' | '.join(told)} |")
    for name, counts in paired.items():
        each = ", ".join(f"{own} ({plain})" for own, plain in counts)
        lines += ["", f"rounds of {name} (and of `float32`) with each seed: {each}"]
    return "\n".join([*lines, ""])


def _kilobytes(count: float | None) -> str:
    return "–" if count is None else f"{count / 1e3:,.4g}"


def cases(names: Sequence[str], *, short: bool) -> list[Case]:
    """What is run."""
    if short:
        return [Case(digits(split, 20, 0.9), (1,), (1,), ((25.0, 0.02),)) for split in ("iid", "shards")]
    made = {
        "iid": lambda: Case(mnist("iid", 0.2, 24, 0.97), SEEDS, PAIRED_SEEDS, LOWER),
        "shards": lambda: Case(mnist("shards", 0.1, 120, 0.97), SEEDS, PAIRED_SEEDS, LOWER),
        "watch": lambda: Case(watch(60, 0.95), SEEDS, PAIRED_SEEDS, (), DOWN),
    }
    return [made[name]() for name in names]


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__ or "", "digits on 20 devices instead of MNIST on 100 and the watches")
    parser.add_argument("--fleets", nargs="+", choices=("iid", "shards", "watch"), help="which; default: all")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--folder", type=Path, default=Path("out/bytes-to-accuracy"), help="keeps the runs")
    parser.add_argument("--svg", type=Path, help="write the curves to this file")
    options = parser.parse_args()
    kept = Kept(None if options.quick else options.folder / "runs.jsonl")
    found = cases(options.fleets or ("iid", "shards", "watch"), short=options.quick)
    run_all([job for case in found for job in case.jobs()], kept, options.jobs)
    report: dict[str, Any] = {"machine": description()}
    texts, wanted, panels = [description(), ""], [], []
    for case in found:
        made, paired = rows(case, kept), pairs(case, kept)
        weights = kept.runs[case.fleet.name, PLAIN, case.seeds[0]].weights
        report[case.fleet.name] = {
            "weights": weights,
            "target": case.fleet.target,
            "rows": [asdict(one) for one in made],
            "others": dict(others(case, made, weights)),
            "paired": paired,
        }
        texts.append(table(case, made, paired, weights))
        wanted += goals(case, made, paired)
        panels.append(
            bytes_curves.Panel(
                case.fleet.name,
                case.fleet.target,
                [
                    bytes_curves.line([kept.runs[case.fleet.name, one.name, seed] for seed in case.seeds])
                    for one in COMPOSITIONS
                ],
                [bytes_curves.Bar(one.name, one.up_bytes, one.down_bytes, _mean(one.rounds)) for one in made],
            )
        )
    if options.svg:
        options.svg.write_text(bytes_curves.drawn(panels), encoding="utf-8")
    return judged(report, "\n".join(texts), wanted, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
