"""A recorded federation's folder, laid out again as it lay on its server."""

import shutil
from pathlib import Path

from fleet.identities.folder import FederationFolder
from tests.system.versions import RECORDED

FEDERATION = "greenhouse"
"""What every recorded federation is called."""
INSTALLED = Path("/etc/fedge/federations") / FEDERATION
"""Where its broker's configuration says that it lies."""
MEMBERS = ("pi-1", "pi-2", "pi-4")
"""The devices that belong to it; pi-3 was revoked."""


def installed(version: str, root: Path) -> FederationFolder:
    """Copy the folder that a version left on a server to `root`."""
    shutil.copytree(RECORDED / version / "federation", root)
    folder = FederationFolder(root)
    conf = folder.mosquitto_conf.read_text(encoding="utf-8")
    folder.mosquitto_conf.write_text(conf.replace(str(INSTALLED), str(root.resolve())), encoding="utf-8")
    folder.broker_data.mkdir()
    return folder
