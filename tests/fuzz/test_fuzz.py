"""The corpus passes through both programs, and the fuzzer finds what is wrong."""

import hashlib
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent.shell import downloads, masked_rounds
from aggregator.aggregation import updates
from aggregator.shell import saved_exchange
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError
from fedge.wire.messages.message import Message, unpack_one_of
from fedge.wire.messages.message import unpack as unpack_message
from tests.fuzz import __main__ as fuzz
from tests.fuzz import masked, seeds
from tests.fuzz.inputs import MAX_LENGTH, MAX_STEPS, changed, pack, unpack
from tests.fuzz.receivers import TOPICS, run

LONGEST = 1 + MAX_STEPS * (6 + 255 + MAX_LENGTH)


def test_the_corpus_is_small_and_under_the_names_of_its_contents() -> None:
    kept = list(fuzz.CORPUS.iterdir())
    assert 100 <= len(kept) <= 600
    for path in kept:
        data = path.read_bytes()
        assert path.name == hashlib.sha256(data).hexdigest()[:16]
        assert len(data) <= LONGEST
        assert pack(unpack(data)) == data


def test_the_corpus_is_taken_or_refused_and_raises_nothing() -> None:
    outcomes: set[str] = set()
    for given in fuzz.corpus():
        outcomes |= run(given)
    assert {
        "admitted None",
        "refused malformed",
        "refused wrong_length",
        "StartWork",
        "agent malformed",
    } <= outcomes


@pytest.mark.parametrize("number", range(len(CODECS.names())), ids=CODECS.names())
def test_a_valid_update_of_each_codec_is_admitted(number: int) -> None:
    update = seeds.of_codecs()[number]
    assert "admitted None" in run(update)


def test_a_model_is_made_of_each_valid_coded_form() -> None:
    for given in seeds.of_coded_models():
        assert "StartWork" in run(given)
        (step,) = given.steps
        torn = given._replace(steps=(step._replace(payload=step.payload[:-1]),))
        assert "StartWork" not in run(torn), "the device declines"


def test_each_message_of_secure_aggregation_is_taken_and_a_torn_one_is_not() -> None:
    sent = ("masking_advertise", "masking_share", "masking_input", "masking_consistency", "masking_unmask")
    for number, given in enumerate(seeds.of_masking()):
        own = "KeepMasking" if number < masked.PHASES else sent[number - masked.PHASES]
        assert own in run(given)
        (step,) = given.steps
        torn = given._replace(steps=(step._replace(payload=step.payload[:-1]),))
        found = run(torn)
        assert own not in found
        assert found & {"masking malformed", "agent malformed"}, "and it is told why"


def test_a_call_to_a_group_is_answered_and_one_to_another_is_refused() -> None:
    given = seeds.of_groups()
    assert "masking_advertise" in run(given)
    (step,) = given.steps
    other = step.payload.replace(b"pi-3", b"pi-5").replace(b"pi-5", b"pi-3", 1)
    found = run(given._replace(steps=(step._replace(payload=other),)))
    assert "masking_advertise" not in found
    assert found & {"objects other_group", "objects malformed", "agent malformed"}


@pytest.mark.parametrize("program", [saved_exchange, masked_rounds], ids=["aggregator", "device"])
def test_an_exception_in_secure_aggregation_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], program: ModuleType
) -> None:
    """The defect: a message that is cut short raises what nobody refuses. No seed has one."""

    def broken(payload: bytes, kinds: Any, *, max_bytes: int) -> Any:
        try:
            return unpack_one_of(payload, kinds, max_bytes=max_bytes)
        except ProtocolError as error:
            if "cut short" in str(error):
                raise ZeroDivisionError from error
            raise

    monkeypatch.setattr(program, "unpack_one_of", broken)
    assert_found(ZeroDivisionError, run_main(monkeypatch, tmp_path), tmp_path, capsys)


def test_the_same_seed_makes_the_same_changes() -> None:
    first, second = (random.Random(7) for _ in range(2))
    given = seeds.inputs()
    changes = [[changed(one, given[0], TOPICS, rng) for one in given] for rng in (first, second)]
    assert changes[0] == changes[1]


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def run_main(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> int:
    """Begin with what is in the folder's corpus, which is nothing at first."""
    (folder / "corpus").mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(fuzz, "CORPUS", folder / "corpus")
    monkeypatch.setattr(sys, "argv", ["fuzz", *(options or ("--inputs", "2000"))])
    return fuzz.main()


def test_an_exception_in_the_aggregator_is_found_and_its_input_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The defect: a whole update that is cut short raises what nobody refuses. No seed has one."""

    def broken(payload: bytes, kinds: Any, *, max_bytes: int) -> Any:
        try:
            return unpack_one_of(payload, kinds, max_bytes=max_bytes)
        except ProtocolError as error:
            if "cut short" in str(error):
                raise ZeroDivisionError from error
            raise

    monkeypatch.setattr(updates, "unpack_one_of", broken)
    assert_found(ZeroDivisionError, run_main(monkeypatch, tmp_path), tmp_path, capsys)


def test_an_exception_in_the_device_is_found_and_its_input_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The defect: an announced task or model that is cut short raises what nobody refuses."""

    def broken(payload: bytes, kind: type[Message], *, max_bytes: int) -> Message:
        try:
            return unpack_message(payload, kind, max_bytes=max_bytes)
        except ProtocolError as error:
            raise OverflowError from error

    monkeypatch.setattr(downloads, "unpack", broken)
    assert_found(OverflowError, run_main(monkeypatch, tmp_path), tmp_path, capsys)


def assert_found(kind: type[Exception], code: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code == 1
    (found,) = folder.glob("fuzz-*")
    assert found.name in capsys.readouterr().err
    with pytest.raises(kind):
        run(unpack(found.read_bytes()))


def test_where_nothing_is_wrong_nothing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_main(monkeypatch, tmp_path, "--inputs", "300") == 0
    assert list(tmp_path.glob("fuzz-*")) == []


def test_the_corpus_loses_what_reaches_nothing_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    own = min(fuzz.CORPUS.iterdir(), key=lambda path: path.stat().st_size)
    (folder / "own").write_bytes(own.read_bytes())
    (folder / "seed").write_bytes(pack(seeds.inputs()[0]))
    assert run_main(monkeypatch, tmp_path, "--minimize") == 0
    assert [path.name for path in folder.iterdir()] == ["own"]
