"""Why a message or an attempt is refused, by device or server. Each is a value; nothing else changes."""

from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """The name of a refusal, for programs."""

    NOT_CHOSEN = "not_chosen"
    SMALL_COHORT = "small_cohort"
    """Fewer devices than this device's owner asks for."""
    OTHER_GROUP = "other_group"
    """The group is none of those that follow from what the devices have drawn."""
    STRANGER = "stranger"
    """A device of the cohort is none of those that this device's owner knows."""
    LOW_THRESHOLD = "low_threshold"
    """Fewer signatures than this device's owner or the kind of server asks for, or more than devices."""
    WEAK_SERVER = "weak_server"
    """The terms are for a server that is only curious, and this device's owner expects one that lies."""
    NO_RING = "no_ring"
    """A sum would not fit into a word."""
    OTHER_TERMS = "other_terms"
    """Other terms, such as another model, for the attempt that this device is in."""
    LEFT_ATTEMPT = "left_attempt"
    """This device has left the attempt, or has lost its state of it, or a copy of the state is too old."""
    ROUND_SPENT = "round_spent"
    """This device has signed survivors of this round: a second sum would tell the difference."""
    SWITCHED_OFF = "switched_off"
    """An unmasked update is asked for in a round that is masked."""
    OTHER_ATTEMPT = "other_attempt"
    WRONG_PHASE = "wrong_phase"
    FOREIGN_DEVICE = "foreign_device"
    """The message names another device than the one that sent it, or one that is not of the cohort."""
    MALFORMED = "malformed"
    """A bitmap with unknown devices, or a list of another length."""
    BAD_SIGNATURE = "bad_signature"
    TWICE = "twice"
    """A second, different message of the same phase."""
    OWN_KEY_CHANGED = "own_key_changed"
    """The roster lacks this device, or has other keys for it."""
    DUPLICATE_KEY = "duplicate_key"
    WEAK_KEY = "weak_key"
    """A public key with which every secret gives the same."""
    OTHER_ROSTER = "other_roster"
    TOO_FEW = "too_few"
    ALTERED_SHARE = "altered_share"
    """A sealed share cannot be opened: it was altered, or is of another device, attempt or roster."""
    BAD_UPDATE = "bad_update"
    """An update of another size, or with entries or a weight beyond the terms."""
    ALIVE_AND_DEAD = "alive_and_dead"
    NOT_A_SHARER = "not_a_sharer"
    """A survivor that has not shared, or a sharer that is neither alive nor dead."""
    TWO_SURVIVOR_SETS = "two_survivor_sets"
    WRONG_SUM = "wrong_sum"
    """A sum that no updates within the terms have: a device has sent another masked value."""
    WRONG_SHARES = "wrong_shares"
    """The shares of a secret do not give it."""


@dataclass(frozen=True)
class Refusal:
    """A reason and its text."""

    why: Why
    detail: str
