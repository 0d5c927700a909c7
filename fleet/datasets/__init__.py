"""Real data, as a fleet of devices holds it."""

from fleet.datasets.digits import load_digits
from fleet.datasets.federated import LABEL, SERIES, DeviceData, FederatedDataset, write_csv
from fleet.datasets.watch import load_watch

__all__ = ["LABEL", "SERIES", "DeviceData", "FederatedDataset", "load_digits", "load_watch", "write_csv"]
