"""The oracle of a world: what must hold, looked at whenever somebody could see something."""

from fleet.simulator.oracle.checks import Oracle
from fleet.simulator.oracle.endings import NEVER, Ending
from fleet.simulator.oracle.record import LATENESS_S, LIAR, Made
from fleet.simulator.oracle.waits import AGAIN, MISSES

__all__ = ["AGAIN", "LATENESS_S", "LIAR", "MISSES", "NEVER", "Ending", "Made", "Oracle"]
