"""The oracle of a world: it checks the invariants after each event that anybody could observe."""

from fleet.simulator.oracle.checks import Oracle
from fleet.simulator.oracle.endings import NEVER, Ending
from fleet.simulator.oracle.record import LATENESS_S, LIAR, Made
from fleet.simulator.oracle.waits import AGAIN, MISSES

__all__ = ["AGAIN", "LATENESS_S", "LIAR", "MISSES", "NEVER", "Ending", "Made", "Oracle"]
