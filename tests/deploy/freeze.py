"""Stop one thread of a process, as a bug that hangs it would: `freeze.py PID N` stops the N-th.

It is held with ptrace(2) until the process is gone, or this one is.
"""

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

SEIZE, INTERRUPT, ALL_THREADS = 0x4206, 0x4207, 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


process, number = int(sys.argv[1]), int(sys.argv[2])
thread = sorted(int(path.name) for path in Path(f"/proc/{process}/task").iterdir())[number]
ptrace(SEIZE, thread)
ptrace(INTERRUPT, thread)
print("frozen", flush=True)
with suppress(ChildProcessError):
    while True:
        _, status = os.waitpid(thread, ALL_THREADS)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            break
