#!/usr/bin/env bash
# diffprivlib 0.6.6 (with scikit-learn 1.6.1, the newest, 1.9.1, breaks its import): histogram's weights.
#
# Expected: histogram(sample, epsilon, weights=…) adds noise for the largest weight, as one record now moves a bin by its
#   weight, or refuses weights, or warns.
# What happens: the noise is that of a count, sensitivity 1, whatever the weights are. Where each record weighs 100 and
#   ε = 1, the bin of ten records is about 1000 ± 1.4 and that of nine about 900 ± 1.4: one record's presence can be read off
#   each of 400 releases, which ε = 1 forbids (no test may be right more often than e / (1 + e) = 73 % of the time).
#   The ε that is spent is 100. The BudgetAccountant writes down 1. The privacy warnings of the library stay silent.
#   Weights below 1 lose their fraction instead: ten records of 0.09 are counted as 0, not 0.9.
# Effect: whoever publishes a histogram of litres, seconds or battery charge by bin (weights are the amounts) announces an ε
#   that is smaller than the true one by the largest amount.
# Source: histogram's documentation says that the noise is added "to satisfy differential privacy" and that each value
#   contributes its weight; https://diffprivlib.readthedocs.io/en/latest/modules/tools.html. The bound on a test: Kairouz,
#   Oh, Viswanath 2015, "The Composition Theorem for Differential Privacy", section 2.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    diffprivlib==0.6.6 scikit-learn==1.6.1 numpy==2.2.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

import numpy as np
from diffprivlib import BudgetAccountant
from diffprivlib.mechanisms import GeometricTruncated
from diffprivlib.tools import histogram

warnings.simplefilter("error")  # a PrivacyLeakWarning would end this script
print("diffprivlib", version("diffprivlib"))
EPSILON, WEIGHT, RELEASES = 1.0, 100, 400
best = np.exp(EPSILON) / (1 + np.exp(EPSILON))


def first_bin(records, weight, seed):
    return histogram(
        np.full(records, 0.5), EPSILON, bins=2, range=(0, 2), weights=np.full(records, weight), random_state=seed
    )[0][0]


def told_apart(ten, nine):
    """How often the right one of ten and nine records is named, by the middle of their true sums."""
    middle = 9.5 * WEIGHT
    return (np.mean(np.array(ten) > middle) + np.mean(np.array(nine) < middle)) / 2


ten = [first_bin(10, WEIGHT, seed) for seed in range(RELEASES)]
nine = [first_bin(9, WEIGHT, RELEASES + seed) for seed in range(RELEASES)]
weighted = told_apart(ten, nine)
print(f"histogram, weights {WEIGHT}: ten records {min(ten)} to {max(ten)}, nine records {min(nine)} to {max(nine)}")
print(f"told apart: {weighted:.1%} of {2 * RELEASES} releases, where epsilon {EPSILON} allows {best:.1%} on average")


def right(count, seed):
    noise = GeometricTruncated(
        epsilon=EPSILON, sensitivity=WEIGHT, lower=0, upper=sys.maxsize, random_state=seed
    )
    return noise.randomise(count * WEIGHT)


control = told_apart(
    [right(10, seed) for seed in range(RELEASES)], [right(9, RELEASES + seed) for seed in range(RELEASES)]
)
print(f"the library's own mechanism with sensitivity {WEIGHT}: {control:.1%}")

accountant = BudgetAccountant()
histogram(np.full(10, 0.5), EPSILON, bins=2, range=(0, 2), weights=np.full(10, WEIGHT), accountant=accountant)
spent = accountant.total()[0]
print("the accountant's total:", spent)

small = np.mean([first_bin(10, 0.09, seed) for seed in range(RELEASES)])
none = np.mean([first_bin(0, 0.09, seed) for seed in range(RELEASES)])
print(f"ten records of 0.09: {small:.3f} on average; no record at all: {none:.3f}")
if not (weighted == 1 and control < best + 0.06 and spent == EPSILON and small == none):
    sys.exit("this has changed")
PYTHON
