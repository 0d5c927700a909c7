"""Decide when to reconnect after a loss, so that a fleet does not reconnect all at once. Pure."""

from dataclasses import dataclass

FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 20.0
STABLE_S = 5.0
"""After a connection that lasted this long, the back-off begins anew."""


@dataclass
class Backoff:
    """Counts the attempts without a lasting connection."""

    failures: int = 0

    def pause_s(self, lasted_s: float | None, spread_s: float, draw: float) -> float:
        """The pause after a connection has ended, in seconds.

        Args:
            lasted_s: seconds since the broker accepted us; None: it never did.
            spread_s: the fleet's `reconnect_spread_s`; 0 while it is not known.
            draw: uniform in [0, 1).
        """
        stable = lasted_s is not None and lasted_s > STABLE_S
        self.failures = 1 if stable else self.failures + 1
        return pause_s(self.failures, spread_s, draw, lost=lasted_s is not None or self.failures == 1)


def pause_s(failures: int, spread_s: float, draw: float, *, lost: bool) -> float:
    """The pause before the next attempt to connect, so that a fleet does not reconnect all at once.

    When all clients lose the broker at the same moment, each tries again at a random moment within the
    spread. While the broker stays away, each tries once per spread, at about the moment that it drew first.
    If each drew anew every time, attempts would accumulate at the end of the spread, to e = 2.7 times their
    mean rate (the renewal density of a uniform law), just when a broker may come back.

    Args:
        failures: the number of attempts without a lasting connection, this one included; at least 1.
        spread_s: the fleet's `reconnect_spread_s`; 0 while it is not known.
        draw: uniform in [0, 1).
        lost: a connection was lost, or this is the first attempt, so that all others may do the same now.
    """
    longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    if lost:
        return 0.05 + draw * (longest_s + spread_s)
    return 0.05 + spread_s + draw * longest_s
