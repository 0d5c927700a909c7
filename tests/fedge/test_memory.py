"""All threads of the aggregator take memory from one heap."""

import subprocess
import sys

import pytest

PROGRAM = """
import re, sys, threading
from pathlib import Path
from fedge.service.memory import use_one_heap
if sys.argv[1] == "one":
    use_one_heap()
done = threading.Barrier(9)
def work():
    held = [b"x" * (100_000 + n) for n in range(100)]
    done.wait()
    done.wait()
for _ in range(8):
    threading.Thread(target=work).start()
done.wait()
heaps = 0
for line in Path("/proc/self/smaps").read_text().splitlines():
    if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
        own = len(line.split()) == 5  # of no file, and not the main heap
    elif own and line.startswith("Rss:"):
        heaps += int(line.split()[1]) > 9_000
print(heaps)
done.wait()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the heaps are counted in /proc")
def test_eight_threads_fill_no_heaps_of_their_own() -> None:
    found = {}
    for which in ("one", "many"):
        program = subprocess.run([sys.executable, "-c", PROGRAM, which], capture_output=True, check=True)
        found[which] = int(program.stdout)
    if found["many"] < 8:
        pytest.skip("this C library gives threads no heaps of their own")
    assert found["one"] <= 1
