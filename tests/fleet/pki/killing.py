"""A run that enrols devices and is killed at a given moment.

Its process is forked from one that has imported what such a run needs: so many runs import it once.
"""

import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fleet.pki import publication, staged_bundles
from fleet.pki.enrolment import enroll, enroll_all
from fleet.pki.folder import FederationFolder
from fleet.pki.identity import Identity
from fleet.pki.register import Register

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])

BEFORE = ("one bundle is aside", "all bundles are aside", "half of them are noted")
"""Before the devices are in the register."""
AFTER = (
    "it is in the register", "half of them are moved", "all bundles are in their places",
    "the access list is written", "the broker is told",
)  # fmt: skip
TIMEOUT_S = 120


def killed(moment: str, folder: FederationFolder, *devices: str) -> None:
    """Enrol devices in a process that dies at this moment; a single device gets another certificate."""
    process = PROCESSES.Process(target=_dies, args=(moment, folder.root, devices))
    process.start()
    process.join(TIMEOUT_S)
    assert process.exitcode == -signal.SIGKILL
    process.close()


def _dies(moment: str, root: Path, devices: tuple[str, ...]) -> None:
    run(moment, root, devices, lambda: os.kill(os.getpid(), signal.SIGKILL))


def waits(moment: str, root: Path, devices: tuple[str, ...], told: Connection) -> None:
    """Enrol devices; at this moment say so, and go on as soon as there is an answer."""

    def wait() -> None:
        told.send(moment)
        told.recv()

    run(moment, root, devices, wait)


def run(moment: str, root: Path, devices: tuple[str, ...], interrupt: Callable[[], None]) -> None:
    """Enrol devices in this process, whose parts are changed: `interrupt` is called at this moment."""

    def at_call(owner: Any, name: str, number: int) -> None:
        original, calls = getattr(owner, name), []

        def counted(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            if len(calls) == number:
                interrupt()
            return original(*arguments, **named)

        setattr(owner, name, counted)

    folder = FederationFolder(root)
    match moment:
        case "one bundle is aside":
            at_call(os, "fsync", 2)
        case "all bundles are aside":
            at_call(Register, "enrol", 1)
        case "half of them are noted":
            at_call(Register, "add_certificate", (len(devices) + 1) // 2)
        case "it is in the register":
            at_call(staged_bundles, "move_out", 1)
        case "half of them are moved":
            at_call(os, "rename", (len(devices) + 1) // 2)
        case "all bundles are in their places":
            at_call(publication, "_tell", 1)
        case "the access list is written":
            at_call(publication, "_write", 2)
        case "the broker is told":
            at_call(publication, "signal_broker", 2)
    if len(devices) > 1:
        enroll_all(folder, [Identity("greenhouse", device) for device in devices])
    else:
        enroll(folder, devices[0], again=True)
