"""The exporter's thread: who is told to stop in the middle of an export ends well, and after it."""

import subprocess
import sys
from pathlib import Path

STOPPED_IN_THE_MIDDLE = """
import sys, threading
from pathlib import Path
from types import SimpleNamespace
import aggregator.export
from aggregator.exporting import Exporter, Job
from fedge.freshness import RoundId

begun = threading.Event()

def slow(folder, *_):
    begun.set()
    threading.Event().wait(0.3)
    (folder / "model.onnx").touch()
    return SimpleNamespace(onnx=b"", withheld="")

aggregator.export.write = slow
exporter = Exporter("greenhouse", Path(sys.argv[1]), print)
exporter.submit(Job(RoundId(1, 1), b"d" * 32, None, None, {}, last=False))
begun.wait()
exporter.close()
"""


def test_the_export_under_way_comes_to_its_end(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", STOPPED_IN_THE_MIDDLE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (tmp_path / "model.onnx").exists()


def test_an_exporter_that_was_never_used_keeps_nobody_waiting(tmp_path: Path) -> None:
    unused = STOPPED_IN_THE_MIDDLE.partition("exporter.submit")[0]
    ran = subprocess.run([sys.executable, "-c", unused, str(tmp_path)], timeout=30, check=False)
    assert ran.returncode == 0
