"""Messages are checked by what is built at their first use, whichever threads come first."""

import subprocess
import sys

PROGRAM = """
import threading
from concurrent.futures import ThreadPoolExecutor
from fedge.wire.messages import kinds

THREADS = 8
barrier = threading.Barrier(THREADS)

def read(kind):
    barrier.wait()
    try:
        kind.model_validate({})
    except Exception as error:
        return type(error).__name__

with ThreadPoolExecutor(THREADS) as pool:
    for kind in kinds.KINDS.values():
        found = list(pool.map(read, [kind] * THREADS))
        assert set(found) == {"ValidationError"}, (kind, found)
print(len(kinds.KINDS))
"""


def test_several_threads_may_use_a_message_for_the_first_time_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
