"""A test of real processes that fails is tried once more; what passed only then is named: "FLAKY: its name".

A busy machine can fail such a test, and must not hide that it did: the end of the run lists them with what
went wrong the first time, and adds them to the file that FEDGE_FLAKY names, if it names one. Pure tests have
one try. So have those that hung, for what is left of their time would be too short, and the long ones, which
somebody watches; `--force-reruns 0` gives one try to all.

What tests of a module or a session share is made anew for the second try only where making it failed. Where
it works no more, the second try fails as well.
"""

import os
from pathlib import Path

import pytest

RETRIED = ("system", "chaos", "deploy")
HUNG = r"^Failed: Timeout \(>"
"""What pytest-timeout says."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.pluginmanager.hasplugin("rerunfailures") or config.getoption("usepdb"):
        return
    again = pytest.mark.flaky(reruns=1, rerun_except=HUNG)
    for item in items:
        marked = any(item.get_closest_marker(name) for name in RETRIED)
        if marked and not item.get_closest_marker("long"):
            item.add_marker(again)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if hasattr(
        terminalreporter.config, "workerinput"
    ):  # one of several workers: the one that began them tells
        return
    failed = {report.nodeid for kind in ("failed", "error") for report in terminalreporter.getreports(kind)}
    first = {report.nodeid: report for report in terminalreporter.getreports("rerun")}
    flaky = {name: report for name, report in first.items() if name not in failed}
    for name, report in flaky.items():
        terminalreporter.section(f"first try of {name}")
        terminalreporter.write_line(report.longreprtext)
        for title, text in report.sections:
            terminalreporter.write_sep("-", title)
            terminalreporter.write_line(text)
    lines = [f"FLAKY: {name}" for name in flaky]
    if lines:
        terminalreporter.section("passed only when tried again")
        for line in lines:
            terminalreporter.write_line(line)
    if lines and (listed := os.environ.get("FEDGE_FLAKY")):
        with Path(listed).open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
