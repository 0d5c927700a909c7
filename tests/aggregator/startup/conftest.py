"""A state folder, and what is said to be seen of the federation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregator.config import FederationSettings
from aggregator.core import presence, takeover
from aggregator.core.claims import HEARING_S, Known
from aggregator.core.presence import LeaderCheck
from aggregator.shell import leader_check, startup
from tests.aggregator.startup.places import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.ledger.close()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[LeaderCheck], None]:
    """Say what is seen of the federation, without a broker; nobody else comes while it is waited for."""

    def say(watch: LeaderCheck) -> None:
        def conclude(
            settings: FederationSettings, ledger: Known, *_: object, new_generation: bool, **__: object
        ) -> takeover.TakeUp | None:
            link: Any = None
            found = leader_check.Watching(
                settings, link, ledger, lambda: presence.PATIENCE_S + HEARING_S, new_generation=new_generation
            )
            found._state = replace(found._state, watch=watch, subscribed_s=0.0, first_s=0.0, asked=True)
            found.turn([])
            return found.seen

        monkeypatch.setattr(startup, "watch", conclude)

    say(LeaderCheck(0.0))
    return say
