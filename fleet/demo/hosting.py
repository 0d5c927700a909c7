"""`python -m fleet.demo.hosting AGENT.toml …`: several agents in one process, a thread each.

The demo uses it if a machine has no room for one process per device. These are the agents that run in the
field; they only share memory and interpreter. If one of them ends, all end.
"""

import logging
import signal
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from agent.config import AgentSettings
from agent.shell.loop import Loop
from fedge.errors import FedgeError
from fedge.service.logs import tell

log = logging.getLogger("fedge.hosting")


def main(arguments: list[str]) -> int:
    """Run until a signal; return the exit code."""
    tell()
    ended: SimpleQueue[FedgeError | None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(None))
    try:
        loops = [Loop(AgentSettings.load(Path(argument))) for argument in arguments]
    except FedgeError as error:
        log.error("%s", error)
        return error.exit_code
    threads = [Thread(target=_work, args=(loop, ended), daemon=True) for loop in loops]
    for thread in threads:
        thread.start()
    why = ended.get()
    for loop in loops:
        loop.stop()
    for thread in threads:
        thread.join()
    if why is not None:
        log.error("%s", why)
        return why.exit_code
    return 0


def _work(loop: Loop, ended: "SimpleQueue[FedgeError | None]") -> None:
    try:
        loop.run()
    except FedgeError as error:
        ended.put(error)
    except BaseException as error:
        log.error("an agent failed", exc_info=error)
        ended.put(FedgeError(f"an agent failed: {type(error).__name__}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
