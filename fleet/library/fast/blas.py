"""One thread for matrix products in a worker process: the workers are as many as there are processors."""

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
MAPS = Path("/proc/self/maps")
SETTERS = tuple(
    f"{prefix}openblas_set_num_threads{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "")
)


@contextmanager
def one_thread_for_children() -> Iterator[None]:
    """Within the block, a new process that loads NumPy anew has one thread."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def use_one_thread() -> None:
    """In a forked process, which has NumPy already: tell OpenBLAS, if this is what NumPy uses."""
    try:
        libraries = set(re.findall(r"/\S*openblas\S*", MAPS.read_text(encoding="utf-8")))
    except OSError:  # there is no such file besides on Linux
        return
    for library in libraries:
        loaded = ctypes.CDLL(library)
        for name in SETTERS:
            if hasattr(loaded, name):
                getattr(loaded, name)(1)
                return
