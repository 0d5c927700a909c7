"""`benchmarks.privacy`: its audits find half the noise, its stories of the budget can fail."""

import numpy as np
import pytest

from benchmarks import privacy
from fedge.privacy.budget import Charged


def test_half_the_noise_is_found_and_the_whole_is_not() -> None:
    included = np.random.default_rng(3).random(privacy.CANARIES) < 0.5
    honest, halved = (privacy.audited(included, part) for part in (1.0, 0.5))
    assert honest.keys() == halved.keys() == {"central", "tree"}
    assert all(halved[name] > 1.5 * honest[name] > 1 for name in honest)


def test_a_budget_that_charges_everything_fails_its_stories(monkeypatch: pytest.MonkeyPatch) -> None:
    assert privacy.budget_keeps() == 4
    real = privacy.charge

    def generous(history, *rest):  # type: ignore[no-untyped-def] # as `charge`
        found = real(history, *rest)
        return found if isinstance(found, Charged) else Charged(history, False)

    monkeypatch.setattr(privacy, "charge", generous)
    assert privacy.budget_keeps() == 2


def test_the_course_is_not_chosen_with_a_seed_that_is_told() -> None:
    assert privacy.MEASURED not in privacy.FORETOLD
    assert 0 not in {privacy.MEASURED, *privacy.FORETOLD}
