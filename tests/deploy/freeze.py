"""Stop one thread of a process, as a bug that hangs it would: `freeze.py PID N` stops the N-th.

It is held with ptrace(2) until the process is gone, or this one is. It is taken while it waits in
the kernel: elsewhere it may hold the interpreter's lock, and then every other thread would hang with it.
"""

import ctypes
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

SEIZE, INTERRUPT, DETACH, ALL_THREADS = 0x4206, 0x4207, 17, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def sleeps(task: Path) -> bool:
    """Whether it waits in a system call."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0] == "S"


def is_in_a_call(task: Path) -> bool:
    """Whether it was stopped in a system call: the kernel shows its number, and else -1."""
    return not (task / "syscall").read_text().startswith(("-1", "running"))


def hold(task: Path) -> bool:
    """Stop the thread; False if it was caught at work, and goes on."""
    thread = int(task.name)
    ptrace(SEIZE, thread)
    ptrace(INTERRUPT, thread)
    os.waitpid(thread, ALL_THREADS)
    if is_in_a_call(task):
        return True
    ptrace(DETACH, thread)
    return False


process, number = int(sys.argv[1]), int(sys.argv[2])
task = sorted(Path(f"/proc/{process}/task").iterdir(), key=lambda path: int(path.name))[number]
while not (sleeps(task) and hold(task)):
    time.sleep(0.001)
print("frozen", flush=True)
with suppress(ChildProcessError):
    while True:
        _, status = os.waitpid(int(task.name), ALL_THREADS)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            break
