"""A recorded federation's folder, laid out again as it lay on its server."""

import getpass
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.demo.broker import LocalBroker, free_port
from fleet.pki.folder import FederationFolder
from tests.system.production import MOSQUITTO, Production
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


@contextmanager
def serving(folder: FederationFolder) -> Iterator[Production]:
    """Mosquitto with the folder's own configuration and lists, on other ports; ended at the end."""
    assert MOSQUITTO is not None
    ports = free_port(), free_port()
    for file, key in ((folder.mosquitto_conf, "listener "), (folder.registrar_settings, r"\w*port = ")):
        fresh = iter(ports)
        text = file.read_text(encoding="utf-8")
        text = re.sub(rf"(?m)^({key})\d+", lambda match, fresh=fresh: f"{match[1]}{next(fresh)}", text)
        file.write_text(text, encoding="utf-8")
    made = Production(folder, None, *ports, FEDERATION)  # type: ignore[arg-type]
    made.rewrite(user=getpass.getuser())  # under root it would become one who may not read this folder
    command = [MOSQUITTO, "-c", str(folder.mosquitto_conf)]
    with LocalBroker("mosquitto", command, ports[0], folder.root.parent / "broker.log") as broker:
        broker.url = f"mqtts://127.0.0.1:{ports[0]}"
        made.broker = broker
        yield made
