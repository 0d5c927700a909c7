"""Who is believed: one right signature of the newest key, for this federation and topic, and nothing else."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from fedge.errors import ProtocolError
from fedge.identity import ed25519
from fedge.identity.trust import Signer, Signers, authenticate, lengthened, succession
from fedge.wire.messages.envelope import MAX_SUCCESSIONS, Signed, Succession
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.service import Service
from fedge.wire.reasons import Reason
from fedge.wire.topics import Topics
from tests.wording import assert_tells

LAB = Topics("lab")
MESSAGE = Service(online=True, ledger=b"l" * 16, instance=b"i" * 16, beat=7)
KEYS = [ed25519.generate() for _ in range(MAX_SUCCESSIONS + 2)]


def signer(changes: int = 0) -> Signer:
    """After so many changes of the key."""
    chain: tuple[Succession, ...] = ()
    for old, new in pairwise(KEYS[: changes + 1]):
        chain = lengthened(chain, succession(LAB, old.public, old.sign, new.public))
    return Signer(LAB, KEYS[changes].public, KEYS[changes].sign, chain)


def envelope(changes: int = 0) -> Signed:
    return unpack(signer(changes).seal(MESSAGE, "round"), Signed)


def believed(sealed: Signed, signers: Signers) -> Signers:
    return authenticate(sealed, "round", LAB, signers, ed25519.verify)


def refusal(sealed: Signed, signers: Signers) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        believed(sealed, signers)
    return caught.value


PINNED: Signers = (KEYS[0].public,)


def test_the_pinned_key_is_believed_and_nobody_else() -> None:
    assert believed(envelope(), PINNED) == PINNED
    error = refusal(envelope(), (KEYS[1].public,))
    assert error.reason is Reason.BAD_SIGNATURE
    assert KEYS[1].public.hex()[:16] in str(error)
    assert refusal(Signed(body=pack(MESSAGE)), PINNED).reason is Reason.UNSIGNED


def test_a_signature_holds_on_its_own_topic_only() -> None:
    for said, heard in (("round", "export"), ("export", "round")):
        sealed = unpack(signer().seal(MESSAGE, said), Signed)
        assert authenticate(sealed, said, LAB, PINNED, ed25519.verify) == PINNED
        with pytest.raises(ProtocolError) as caught:
            authenticate(sealed, heard, LAB, PINNED, ed25519.verify)
        assert caught.value.reason is Reason.BAD_SIGNATURE


def test_one_right_signature_among_strange_ones_is_enough() -> None:
    """So that another kind of signature can be added beside it."""
    right = envelope()
    strange = (b"", b"x" * 64, b"y" * 3_000)
    assert believed(right.model_copy(update={"sigs": (*strange, *right.sigs)}), PINNED) == PINNED


@pytest.mark.parametrize("changes", [0, 1])
def test_a_flipped_bit_changes_neither_what_is_said_nor_who_is_believed(changes: int) -> None:
    whole, signers = signer(changes).seal(MESSAGE, "round"), (KEYS[0].public,)
    expected = (pack(MESSAGE), believed(unpack(whole, Signed), signers))
    refused = 0
    for at in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        try:
            sealed = unpack(bytes(flipped), Signed)
            assert (sealed.body, believed(sealed, signers)) == expected
        except ProtocolError:
            refused += 1
    assert refused == len(whole) * 8


def test_changes_are_followed_from_wherever_one_stands() -> None:
    for known in range(4):
        known_keys = tuple(key.public for key in KEYS[: known + 1])
        assert believed(envelope(3), known_keys) == tuple(key.public for key in KEYS[:4])
    assert believed(envelope(3), (KEYS[2].public,)) == (KEYS[2].public, KEYS[3].public)


def test_who_was_replaced_is_not_believed_any_more() -> None:
    known = (KEYS[0].public, KEYS[1].public, KEYS[2].public)
    for old in (0, 1):
        assert refusal(envelope(old), known).reason is Reason.REVOKED_SIGNER


def test_a_key_that_was_replaced_does_not_come_back() -> None:
    one, two = KEYS[0], KEYS[1]
    chain = (
        succession(LAB, one.public, one.sign, two.public),
        succession(LAB, two.public, two.sign, one.public),
    )
    back = Signer(LAB, one.public, one.sign, chain)
    error = refusal(unpack(back.seal(MESSAGE, "round"), Signed), PINNED)
    assert error.reason is Reason.MALFORMED
    assert_tells(str(error), "signing key", "replaced")


def test_who_missed_more_changes_than_travel_is_told_so_by_the_key() -> None:
    changes = MAX_SUCCESSIONS + 1
    assert refusal(envelope(changes), PINNED).reason is Reason.BAD_SIGNATURE
    assert believed(envelope(changes), (KEYS[1].public,))[-1] == KEYS[changes].public


def test_what_is_remembered_is_bounded_and_begins_with_the_pinned_key() -> None:
    known = PINNED
    for changes in range(1, len(KEYS)):
        known = believed(envelope(changes), known)
    assert (len(known), known[0], known[-1]) == (MAX_SUCCESSIONS, KEYS[0].public, KEYS[-1].public)


@pytest.mark.parametrize(
    "abuse",
    [
        lambda: Signed(body=b"b", sigs=tuple(bytes([i]) * 64 for i in range(8))),
        lambda: envelope(MAX_SUCCESSIONS).model_copy(update={"sigs": (b"s" * 64,) * 8}),
    ],
)
def test_the_work_that_a_stranger_can_ask_for_is_bounded(abuse: Callable[[], Signed]) -> None:
    asked = 0

    def verify(public: bytes, signature: bytes, data: bytes) -> bool:
        nonlocal asked
        asked += 1
        return ed25519.verify(public, signature, data)

    with pytest.raises(ProtocolError):
        authenticate(abuse(), "round", LAB, PINNED, verify)
    assert asked <= MAX_SUCCESSIONS + 8 * (MAX_SUCCESSIONS + 1)


@pytest.mark.parametrize(
    ("public", "signature"), [(b"", b"s" * 64), (b"p" * 32, b""), (b"\xff" * 32, b"s" * 64)]
)
def test_what_is_no_key_or_signature_is_wrong_and_no_error(public: bytes, signature: bytes) -> None:
    assert not ed25519.verify(public, signature, b"data")
