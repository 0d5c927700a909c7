#!/usr/bin/env bash
# dp-accounting 0.6.0: its RDP accountant, asked for the relation "replace one".
#
# Expected: RdpAccountant(neighboring_relation=REPLACE_ONE) bounds the ε of exchanging one record, or refuses events
#   that it has no bound for, as it does for PoissonSampledDpEvent.
# What happens: for GaussianDpEvent it answers with the ε of adding or removing one record. GaussianDpEvent says that
#   its noise multiplier is s / C for values of length C at most; exchanging one value then moves the sum by 2 C. With
#   s = C and δ = 1e-5 the exact ε is 9.997, which PLDAccountant gives too; RdpAccountant gives 4.729. An upper bound
#   is below the exact value, by the factor 2. No error, no warning.
# Effect: whoever fixes the number of devices in a round, and therefore counts in exchanged ones, announces half of the
#   ε that is spent, or adds half of the noise: a calibrated multiplier for ε = 4 then gives 8.4.
# Source: docstrings of GaussianDpEvent and of AdditiveNoisePrivacyLoss ("for REPLACE adjacency … twice the
#   sensitivity") in https://github.com/google/differential-privacy/tree/main/python/dp_accounting; the exact value:
#   Balle, Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy", theorem 8.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dp-accounting==0.6.0
"$folder/venv/bin/python" - <<'PYTHON'
import math
import sys
from importlib.metadata import version

import dp_accounting
from dp_accounting import pld, rdp

DELTA = 1e-5
relations = dp_accounting.NeighboringRelation


def told(accountant, noise_multiplier=1.0):
    accountant.compose(dp_accounting.GaussianDpEvent(noise_multiplier))
    return accountant.get_epsilon(DELTA)


def delta_of(epsilon, moved, s):
    """The exact δ of normal noise s where one exchange moves the sum by `moved`."""
    def normal(x):
        return math.erfc(-x / math.sqrt(2)) / 2
    a, b = moved / (2 * s), epsilon * s / moved
    return normal(a - b) - math.exp(epsilon) * normal(-a - b)


def exact(moved, s=1.0):
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, moved, s) > DELTA else (low, middle)
    return high


print("dp-accounting", version("dp-accounting"), "GaussianDpEvent(1.0), delta", DELTA)
found = {}
for relation, moved in ((relations.ADD_OR_REMOVE_ONE, 1), (relations.REPLACE_ONE, 2)):
    found[relation] = (
        told(rdp.RdpAccountant(neighboring_relation=relation)),
        told(pld.PLDAccountant(relation)),
        exact(moved),
    )
    print(f"{relation.name}: RDP {found[relation][0]:.4f}, PLD {found[relation][1]:.4f}, exact {found[relation][2]:.4f}")
poisson = dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.0))
refused = not rdp.RdpAccountant(neighboring_relation=relations.REPLACE_ONE).supports(poisson)
print("the same accountant refuses PoissonSampledDpEvent:", refused)


def calibrated():
    return dp_accounting.calibrate_dp_mechanism(
        lambda: rdp.RdpAccountant(neighboring_relation=relations.REPLACE_ONE), dp_accounting.GaussianDpEvent, 4.0, DELTA
    )


s = calibrated()
spent = exact(2, s)
print(f"calibrated for 4.0 and REPLACE_ONE: noise multiplier {s:.4f}, exact epsilon {spent:.4f}")
added, replaced = found[relations.ADD_OR_REMOVE_ONE], found[relations.REPLACE_ONE]
same = replaced[0] == added[0] and replaced[0] < 0.5 * replaced[2] and abs(replaced[1] - replaced[2]) < 0.01
if not (same and refused and added[0] >= added[2] and spent > 8):
    sys.exit("this has changed")
print("RDP's epsilon for REPLACE_ONE is that of ADD_OR_REMOVE_ONE, and below the exact one")
PYTHON
