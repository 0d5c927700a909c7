"""Who is tried again, who is not, and how it is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = '''
import time
from pathlib import Path
import pytest

def times(what):
    """How often this was called."""
    with Path(__file__).with_name(what).open("a+") as file:
        file.write("x")
        return file.tell()

@pytest.fixture(scope="module")
def broker():
    if times("broker made") == 1:
        raise OSError("the port is in use")
    yield
    times("broker ended")

@pytest.fixture(scope="module")
def folder():
    times("folder made")
    yield
    times("folder ended")

@pytest.mark.system
def test_its_broker_starts_the_second_time(broker): times("broker used")

@pytest.mark.system
def test_the_broker_stays(broker, folder): assert not Path(__file__).with_name("broker ended").exists()

@pytest.mark.chaos
def test_it_passes_the_second_time(folder, tmp_path):
    (tmp_path / "new").touch(exist_ok=False)
    print("seen by the test")
    assert times("second") == 2, "too early"

@pytest.mark.deploy
def test_it_never_passes(): assert times("never") == 0

@pytest.mark.system
@pytest.mark.timeout(1)
def test_it_hangs():
    times("hangs")
    time.sleep(600)

@pytest.mark.system
@pytest.mark.long
def test_it_is_long(): assert times("long") == 2

def test_it_is_pure(): assert times("pure") == 2
'''
INI = "[pytest]\nmarkers =\n  system\n  chaos\n  deploy\n  long\naddopts = --strict-markers\n"
FLAKY = [
    "FLAKY: test_tiny.py::test_its_broker_starts_the_second_time",
    "FLAKY: test_tiny.py::test_it_passes_the_second_time",
]


def pytest_run(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_tiny.py").write_text(TESTS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FEDGE_FLAKY": str(folder / "flaky")}
    command = [sys.executable, "-m", "pytest", "-p", "tests.flaky", "-p", "no:hypothesispytest", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def times(folder: Path, what: str) -> int:
    return (folder / what).stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_what_passes_the_second_time_is_named_and_nothing_else_is_hidden(
    workers: str, tmp_path: Path
) -> None:
    (tmp_path / "flaky").write_text("FLAKY: of the run before\n")
    done = pytest_run(tmp_path, "-n", workers)
    assert done.returncode == 1, done.stdout + done.stderr
    told = done.stdout.partition("passed only when tried again")[2].partition("= short test summary")[0]
    assert [line for line in told.splitlines() if line.startswith("FLAKY: ")] == FLAKY, done.stdout
    assert (tmp_path / "flaky").read_text().splitlines() == ["FLAKY: of the run before", *FLAKY]
    assert "AssertionError: too early" in done.stdout, "why the first try failed"
    assert "seen by the test" in done.stdout
    for name in ("test_it_never_passes", "test_it_hangs", "test_it_is_long", "test_it_is_pure"):
        assert f"FAILED test_tiny.py::{name}" in done.stdout
    assert "4 failed, 3 passed, 3 rerun" in done.stdout
    assert {what: times(tmp_path, what) for what in ("never", "hangs", "long", "pure")} == {
        "never": 2,
        "hangs": 1,
        "long": 1,
        "pure": 1,
    }


def test_what_is_shared_is_made_anew_only_where_that_failed(tmp_path: Path) -> None:
    done = pytest_run(tmp_path, "-k", "broker or second")
    assert done.returncode == 0, done.stdout + done.stderr
    assert times(tmp_path, "broker made") == 2
    for what in ("broker used", "broker ended", "folder made", "folder ended"):
        assert times(tmp_path, what) == 1, what


def test_one_try_for_all_can_be_had(tmp_path: Path) -> None:
    done = pytest_run(tmp_path, "-k", "second", "--force-reruns", "0")
    assert done.returncode == 1
    assert "FLAKY" not in done.stdout
    assert not (tmp_path / "flaky").exists()
    done = pytest_run(tmp_path, "-k", "never", "-p", "no:rerunfailures")
    assert "1 failed" in done.stdout, done.stdout + done.stderr
