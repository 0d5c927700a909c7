"""The service of metrics, if the configuration asks for it and its package is installed."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from aggregator.config import FederationSettings
from aggregator.shell.counters import Counters, Snapshot
from fedge.errors import ConfigError


def metrics(
    settings: FederationSettings, counters: Counters, now: Callable[[], Snapshot | None]
) -> AbstractContextManager[object]:
    """Return a context in which the metrics are served; without `[metrics] listen` it does nothing.

    Args:
        settings: the configuration.
        counters: what has been counted since the start.
        now: the present state; None while there is none.

    Raises:
        ConfigError: its package is missing; on entering: the address cannot be listened on.
    """
    if settings.metrics.listen is None:
        return nullcontext()
    try:
        from aggregator.shell.exposition import Exposition
        from aggregator.shell.metrics import FederationCollector
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"[metrics] needs the extra 'aggregator' (no module {error.name!r}): "
            "pip install 'fedge[aggregator]'"
        ) from None
    return Exposition(settings.metrics.listen, FederationCollector(settings.federation.name, counters, now))
