"""The units of a federation's services: the templates that come with Fedge, and the names of instances."""

AGGREGATOR = "fedge-aggregator@.service"
REGISTRY = "fedge-registrar@.service"
TEMPLATES = (AGGREGATOR, REGISTRY)
RENEWAL = "fedge-renew-server@.timer"
RELOAD = "fedge-broker-reload.path"
UNITS = (
    *TEMPLATES,
    "fedge-renew-server@.service",
    RENEWAL,
    RELOAD,
    "fedge-broker-reload.service",
    "mosquitto.service.d/fedge.conf",
)


def unit_of(template: str, federation: str) -> str:
    """The unit of one federation."""
    return template.replace("@.", f"@{federation}.")
