"""Write the examples' data: invented measurements of three pumps.

A pump runs normally, cavitates, or has a worn bearing. Each pump has its own load and its own mix of these
states, so that no pump alone has seen enough of all three.
"""

import csv
from pathlib import Path

import numpy as np

STATES = ("normal", "cavitation", "bearing")
# vibration in mm/s, temperature in °C, current in A, noise in dB
MEANS = {
    "normal": (1.2, 41.0, 5.1, 62.0),
    "cavitation": (3.4, 43.0, 4.4, 74.0),
    "bearing": (2.9, 55.0, 5.6, 69.0),
}
SPREADS = (0.5, 3.0, 0.4, 3.0)
MIX = {"pump-1": (0.75, 0.20, 0.05), "pump-2": (0.60, 0.05, 0.35), "pump-3": (0.45, 0.35, 0.20)}
ROWS = 160


def main() -> None:
    """Write `data.csv` beside each pump's `agent.toml`."""
    for number, (pump, mix) in enumerate(MIX.items()):
        rng = np.random.default_rng(number)
        load = rng.normal(0.0, 0.5, 4) * SPREADS
        with (Path(__file__).parent / pump / "data.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("vibration_mm_s", "temperature_c", "current_a", "noise_db", "state"))
            for state in rng.choice(STATES, ROWS, p=mix):
                values = rng.normal(np.add(MEANS[state], load), SPREADS)
                writer.writerow([*(f"{value:.2f}" for value in values), state])


if __name__ == "__main__":
    main()
