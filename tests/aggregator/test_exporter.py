"""The exporter's thread: told to stop in the middle of an export it ends well; one that hangs is noticed."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from aggregator.export.exporter import Exporter
from aggregator.export.job import Exported, Job
from fedge.errors import StateError
from fedge.wire.freshness import RoundId
from tests.aggregator.stories import TASK

STOPPED_IN_THE_MIDDLE = """
import sys, threading
from pathlib import Path
from types import SimpleNamespace
import aggregator.export.model_files
from aggregator.export.exporter import Exporter
from aggregator.export.job import Job
from fedge.wire.freshness import RoundId

begun = threading.Event()

def slow(folder, *_):
    begun.set()
    threading.Event().wait(0.3)
    (folder / "model.onnx").touch()
    return SimpleNamespace(onnx=b"", withheld="")

aggregator.export.model_files.write = slow
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
        timeout=300,
        check=False,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert (tmp_path / "model.onnx").exists()


def test_an_exporter_that_was_never_used_keeps_nobody_waiting(tmp_path: Path) -> None:
    unused = STOPPED_IN_THE_MIDDLE.partition("exporter.submit")[0]
    ran = subprocess.run([sys.executable, "-c", unused, str(tmp_path)], timeout=300, check=False)
    assert ran.returncode == 0


def test_an_export_that_hangs_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, done = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        answer.wait()
        raise StateError("the disk is gone")

    monkeypatch.setattr("aggregator.export.exporter.LONGEST_EXPORT_S", 0.1)
    monkeypatch.setattr("aggregator.export.model_files.write", hang)
    exported: list[Exported] = []

    def post(result: Exported) -> None:
        exported.append(result)
        done.set()

    exporter = Exporter("greenhouse", tmp_path, post)
    assert exporter.pulse.overdue_s() == 0
    exporter.submit(Job(RoundId(1, 1), bytes(32), TASK, np.zeros(1, np.float32), {}, last=False))
    try:
        due_s = time.monotonic() + 90
        while exporter.pulse.overdue_s() == 0:
            assert time.monotonic() < due_s
            time.sleep(0.01)
    finally:
        answer.set()
    assert done.wait(90)
    exporter.close()
    assert exported[0].withheld == "the disk is gone"
    assert exporter.pulse.overdue_s() == 0, "what is done owes nothing"
