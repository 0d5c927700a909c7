"""When to connect again after a loss, so that a fleet does not come at once. Pure."""

from dataclasses import dataclass

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 20.0
STABLE_S = 5.0
"""A connection that lasted this long was a good one: after it the back-off begins anew."""


@dataclass
class Backoff:
    """Counts the attempts that brought no lasting connection."""

    failures: int = 0

    def pause_s(self, lasted_s: float | None, spread_s: float, draw: float) -> float:
        """How long to wait after a connection has ended.

        Args:
            lasted_s: since the broker had accepted us; None: it never did.
            spread_s: the fleet's `reconnect_spread_s`; 0 while it is not known.
            draw: uniform in [0, 1).
        """
        stable = lasted_s is not None and lasted_s > STABLE_S
        self.failures = 1 if stable else self.failures + 1
        return pause_s(self.failures, spread_s, draw, lost=lasted_s is not None or self.failures == 1)


def pause_s(failures: int, spread_s: float, draw: float, *, lost: bool) -> float:
    """How long to wait before the next attempt to connect, so that a fleet does not come at once.

    What all lose in the same moment, each seeks again at its own moment within the spread. While the broker
    stays away each comes once in a spread, at about the moment it drew: were it drawn anew each time from the
    whole spread, attempts would pile up, to e = 2.7 times their mean rate at the spread's end (the renewal
    density of a uniform law), just where a broker may come back.

    Args:
        failures: attempts that did not bring a lasting connection, this one included; from 1 on.
        spread_s: the fleet's `reconnect_spread_s`; 0 while it is not known.
        draw: uniform in [0, 1).
        lost: a connection was lost, or it is the first attempt: all others may be at the same point.
    """
    longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    if lost:
        return 0.05 + draw * (longest_s + spread_s)
    return 0.05 + spread_s + draw * longest_s
