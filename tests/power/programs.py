"""Inside the machine: start the aggregator and every device, each as a process of its own.

They are forked from one Python that has loaded their code: on an emulated processor the imports of four
programs, one after the other, would take most of the time between two cuts.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import agent.__main__
import agent.shell.loop
import aggregator.__main__
import aggregator.shell.loop


def start(name: str, main: Callable[[list[str]], int], config: Path) -> int:
    """Returns its process id."""
    pid = os.fork()
    if pid == 0:
        named = subprocess.Popen(["sed", "-u", f"s/^/{name}: /"], stdin=subprocess.PIPE)
        assert named.stdin is not None
        for stream in (sys.stdout, sys.stderr):
            os.dup2(named.stdin.fileno(), stream.fileno())
        sys.exit(main(["--config", str(config)]))
    return pid


def main() -> None:
    programs = {start("aggregator", aggregator.__main__.main, Path("federation.toml")): "aggregator"}
    for config in Path().glob("*/agent.toml"):
        programs[start(config.parent.name, agent.__main__.main, config)] = config.parent.name
    while programs:
        pid, status = os.wait()
        print(f"POWER ended {programs.pop(pid)}: status {status}", flush=True)


if __name__ == "__main__":
    main()
