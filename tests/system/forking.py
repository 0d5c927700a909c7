"""The process that `tests.system.forked` forks programs from; a script that imports nothing of ours but them.

    python forking.py SOCKET MODULE IMPORT…

It imports the modules IMPORT, and then, for each request on the socket, forks a child that runs MODULE as
`python -m` does. A request is JSON with the file descriptor of the child's output; the answer is the child's
id with two file descriptors: the child's own (pidfd), and a pipe that will tell its exit code. When nobody
holds the other end of the socket, this process ends and with it its children.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from pathlib import Path

LARGEST = 2**20
KILLED_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def serve(control: socket.socket) -> tuple[dict, int] | None:
    """Fork for each request until there are no more; returns in each child: its request, and its output."""
    children: dict[int, tuple[int, int]] = {}  # by its pidfd: a child's id, and the pipe that tells its end
    waiting = select.poll()
    waiting.register(control, select.POLLIN)
    while True:
        for number, _ in waiting.poll():
            if number in children:
                waiting.unregister(number)
                pid, ending = children.pop(number)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with contextlib.suppress(BrokenPipeError):  # nobody asks for it any more
                    os.write(ending, str(code).encode())
                os.close(ending)
                os.close(number)
                continue
            request, files, _, _ = socket.recv_fds(control, LARGEST, 1)
            if not request:
                return None
            told, ending = os.pipe()
            parent = os.getpid()
            if not (pid := os.fork()):
                ctypes.CDLL(None).prctl(KILLED_WITH_PARENT, signal.SIGKILL)
                if os.getppid() != parent:
                    os._exit(1)
                return json.loads(request), files[0]
            handle = os.pidfd_open(pid)
            socket.send_fds(control, [str(pid).encode()], [handle, told])
            os.close(told)
            os.close(files[0])
            children[handle] = pid, ending
            waiting.register(handle, select.POLLIN)


def build_models() -> None:
    """Build the pydantic models that are loaded, which a program would do as it first uses each."""
    if "pydantic" in sys.modules:
        kinds = [sys.modules["pydantic"].BaseModel]
        for kind in kinds:
            kinds += kind.__subclasses__()
        for kind in kinds[1:]:
            kind.model_rebuild(raise_errors=False)


def become(request: dict, output: int) -> None:
    """Make of a forked process what a started one is."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])
    sys.argv[1:] = request["arguments"]


if __name__ == "__main__":
    program = sys.argv[2]
    for module in sys.argv[3:]:
        importlib.import_module(module)
    sys.modules.pop(f"{program}.__main__", None)  # it runs anew, as `__main__`
    build_models()
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{program}: its modules start {threads - 1} threads, which a fork would not have"
    gc.collect()
    gc.freeze()  # what is shared stays shared: no collection of a child writes to it
    if (forked := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(*forked)
        runpy.run_module(program, run_name="__main__", alter_sys=True)
