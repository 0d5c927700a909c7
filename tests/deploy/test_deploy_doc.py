"""docs/deploy.md, walked through as it stands: from a machine with nothing to a device's admitted update."""

import os

import pytest

from tests.deploy.conftest import PAGE, Installed
from tests.deploy.walk import sections, walk
from tests.milestones import CONNECTED, COUNTS
from tests.wording import assert_tells

pytestmark = pytest.mark.deploy


def test_the_page_leads_to_an_admitted_update(
    installed: Installed, capsys: pytest.CaptureFixture[str]
) -> None:
    server, device = installed.server, installed.device
    with capsys.disabled():
        print(
            f"\ndocs/deploy.md: server {server.commands} commands, {server.seconds / 60:.1f} min; "
            f"device {device.commands} commands, {device.seconds / 60:.1f} min to its first admitted update"
        )
    assert server.commands <= 3
    assert device.commands <= 2
    connected = [line for line in installed.debian.journal("fedge-agent@pumps") if CONNECTED in line]
    assert connected[0].endswith("mqtts://broker.example:8883")


def test_a_token_is_printed(installed: Installed) -> None:
    text = sections(PAGE)["A device"].partition("**Many devices")[2]
    assert walk(installed.debian, text).commands == 2
    assert installed.debian.sh("cat token").startswith("fedge1.")
    assert installed.debian.sh("stat -c %a token") == "600"


def test_everything_to_look_at_is_there(installed: Installed) -> None:
    debian = installed.debian
    for path in (
        "/var/lib/fedge-agent/pumps/model.held",
        "/var/lib/fedge-aggregator/pumps/export/model.onnx",
    ):
        debian.until(
            lambda path=path: debian.run("test", "-e", path).returncode == 0,
            f"{path} is there",
            "fedge-agent@pumps",
            "fedge-aggregator@pumps",
        )
    walked = walk(debian, sections(PAGE)["Looking after it"])
    assert walked.commands == 7
    for text in (
        "active (running)",
        COUNTS,
        " valid\n",
        "row,class,probability\n0,",
        "pump-1",
        "model.onnx",
    ):
        assert text in walked.said, walked.said


def test_who_may_not_look_into_the_state_is_told_of_sudo(installed: Installed) -> None:
    """The one line with `predict`, typed by somebody else and without its `sudo`."""
    (line,) = (line for line in sections(PAGE)["Looking after it"].splitlines() if " predict " in line)
    command = line.partition("#")[0].split()[1:]
    done = installed.debian.run("setpriv", "--reuid=nobody", "--clear-groups", *command)
    assert done.returncode == os.EX_IOERR
    assert_tells(done.stderr, "/var/lib/fedge-agent/pumps: ", "root", "sudo")
