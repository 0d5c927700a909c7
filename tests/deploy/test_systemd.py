"""Agent and aggregator as services of a real systemd: what hangs, dies, is upgraded, rebooted, removed.

The tests walk on from docs/deploy.md, in this order, on one machine: a server and up to five devices.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from fedge.identity import bundle
from tests.deploy.conftest import PAGE, Installed
from tests.deploy.debian import ROOT, Debian
from tests.deploy.walk import sections, walk
from tests.milestones import (
    CONNECTED,
    COUNTS,
    NOT_CONNECTED,
    NOT_DUE,
    RENEWED,
    STOPPED,
    STUCK,
    begins,
    closed,
)
from tests.wording import assert_tells

pytestmark = pytest.mark.deploy

FOLDER = "/etc/fedge/federations/pumps"
AGENT, AGGREGATOR = "fedge-agent@pumps", "fedge-aggregator@pumps"
OTHERS = {f"device-{number}": f"pump-{number}" for number in (2, 3, 4, 5)}
"""More devices on the same machine: the unit's instance and the device's id."""


@pytest.fixture(scope="module")
def debian(installed: Installed) -> Debian:
    return installed.debian


def pid(debian: Debian, unit: str) -> int:
    return int(debian.property(unit, "MainPID"))


def restarts(debian: Debian, unit: str) -> int:
    return int(debian.property(unit, "NRestarts"))


def drop_in(debian: Debian, unit: str, text: str) -> None:
    """As `systemctl edit` does."""
    path = debian.root / f"etc/systemd/system/{unit}.service.d/test.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    debian.get("systemctl", "daemon-reload")


def set_keys(file: Path, /, **values: str) -> None:
    text = file.read_text()
    for key, value in values.items():
        text, times = re.subn(rf"(?m)^{key} *=.*$", f"{key} = {value}", text)
        assert times == 1, key
    file.write_text(text)


def read_as(debian: Debian, user: str, file: str) -> "subprocess.CompletedProcess[str]":
    return debian.run("setpriv", f"--reuid={user}", "--clear-groups", "cat", f"{FOLDER}/{file}")


def is_active(debian: Debian, unit: str) -> bool:
    return debian.property(unit, "ActiveState") == "active"


def takes_part(debian: Debian, unit: str) -> None:
    """Wait until the aggregator admits another update of this device."""
    debian.says(unit, COUNTS, after=len(debian.journal(unit)))


@pytest.fixture(scope="module")
def learning(debian: Debian) -> Debian:
    """Rounds that go on and take some seconds each, with five devices."""
    settings = debian.root / FOLDER.lstrip("/") / "federation.toml"
    set_keys(settings, epochs="100", batch_size="1", rounds="100000", patience="100000", quorum="2")
    for name, device in OTHERS.items():
        debian.get("fedge", "enroll", device, "--folder", FOLDER)
        files = bundle.unpack((debian.root / f"{FOLDER}/devices/{device}.fedge".lstrip("/")).read_bytes())
        folder = debian.root / "etc/fedge/agents" / name
        folder.mkdir()
        for file, content in files.items():
            (folder / file).write_bytes(content)
        set_keys(folder / "agent.toml", path=f'"/srv/{name}/data.csv"')
        debian.copy(ROOT / "examples/pump-2/data.csv", f"/srv/{name}/data.csv")
    debian.get("systemctl", "restart", AGGREGATOR)
    debian.get("systemctl", "enable", "--now", *(f"fedge-agent@{name}" for name in OTHERS))
    for name in OTHERS:
        debian.says(f"fedge-agent@{name}", COUNTS)
    return debian


# What a service may do


def test_what_a_service_could_do_if_it_were_taken_over(
    debian: Debian, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {AGENT: 1.5, AGGREGATOR: 2.0, "fedge-registrar@pumps": 2.0, "fedge-renew-server@pumps": 2.0}
    scores = {}
    for unit in limits:
        said = debian.run("systemd-analyze", "security", "--no-pager", f"{unit}.service").stdout
        found = re.search(r"Overall exposure level for .*: (\d+\.\d)", said)
        assert found is not None, said
        scores[unit] = float(found[1])
    with capsys.disabled():
        print(f"\nsystemd-analyze security: {scores}")
    assert all(scores[unit] <= limit for unit, limit in limits.items())


def test_nobody_but_root_reads_keys(debian: Debian) -> None:
    user = debian.sh(f"stat -c %u /proc/{pid(debian, AGENT)}")
    assert user not in ("0", "65534")
    assert debian.sh("stat -c '%a %U' /etc/fedge/agents/pumps/identity.pem") == "600 root"
    for key in ("aggregator/identity.pem", "aggregator/signing.key", "registrar/ca.key"):
        assert "Permission denied" in read_as(debian, user, key).stderr
    assert read_as(debian, "fedge-registrar", "registrar/ca.key").stdout.startswith("-----BEGIN")
    assert "Permission denied" in read_as(debian, "fedge-registrar", "aggregator/signing.key").stderr


def test_the_device_yields_to_everything_else(debian: Debian) -> None:
    shown = debian.get("systemctl", "show", AGENT)
    for line in ("Nice=10", "IOSchedulingClass=3", "MemoryMax=536870912", "CPUQuotaPerSecUSec=1s"):
        assert line in shown.splitlines()


def test_the_journal_knows_what_is_a_warning(debian: Debian) -> None:
    debian.get("systemctl", "restart", "mosquitto")
    command = ["journalctl", "--no-pager", "--output=cat", "--unit", AGENT, "--priority", "warning"]
    debian.until(lambda: NOT_CONNECTED in debian.get(*command), "a warning", AGENT)
    assert COUNTS not in debian.get(*command)


def test_a_renewed_certificate_is_taken_up(debian: Debian) -> None:
    """The daily look renews nothing early; what is new the agent is started again with, and it is let in."""
    debian.get("systemctl", "start", "fedge-renew@pumps.service")
    debian.says("fedge-renew@pumps.service", NOT_DUE)
    process, lines = pid(debian, AGENT), len(debian.journal(AGENT))
    assert RENEWED in debian.sh("fedge-agent renew --force --config /etc/fedge/agents/pumps/agent.toml")
    assert pid(debian, AGENT) == process
    debian.get("systemctl", "start", "fedge-renew@pumps.service")
    debian.says(AGENT, CONNECTED, after=lines)
    assert pid(debian, AGENT) != process


# What fails


def test_wrong_settings_are_not_tried_again(debian: Debian) -> None:
    settings = debian.root / "etc/fedge/agents/pumps/agent.toml"
    before = settings.read_text()
    settings.write_text(before + "[dta]\n")
    assert debian.run("systemctl", "restart", AGENT).returncode != 0
    debian.until(lambda: debian.property(AGENT, "ActiveState") == "failed", "it stays down", AGENT)
    assert debian.property(AGENT, "ExecMainStatus") == str(os.EX_CONFIG)
    assert restarts(debian, AGENT) == 0
    settings.write_text(before)
    debian.get("systemctl", "restart", AGENT)


def test_one_that_hangs_is_started_again(learning: Debian) -> None:
    """28: each part on a device of its own, all at once; and a process that is stopped as a whole."""
    debian = learning
    debian.copy(ROOT / "tests/deploy/freeze.py", "/root/freeze.py")
    short = "[Service]\nWatchdogSec=12\nTimeoutAbortSec=5\nEnvironment=FEDGE_AGENT_TRAINER__PATIENCE_S=10\n"
    parts = dict(zip(OTHERS, ("the loop", "the network thread", "the trainer", "all"), strict=True))
    lines, before = {}, {}
    for name in parts:
        drop_in(debian, f"fedge-agent@{name}", short)
    for name in parts:
        debian.get("systemctl", "restart", f"fedge-agent@{name}")
    for name in parts:
        takes_part(debian, f"fedge-agent@{name}")
    for number, (name, part) in enumerate(parts.items()):
        process = pid(debian, f"fedge-agent@{name}")
        lines[name] = len(debian.journal(f"fedge-agent@{name}"))
        before[name] = restarts(debian, f"fedge-agent@{name}")
        if part == "all":
            debian.sh(f"kill -STOP {process}")
        else:
            debian.sh(f"systemd-run --quiet --collect python3 /root/freeze.py {process} {number}")
    for name, part in parts.items():
        unit = f"fedge-agent@{name}"
        debian.says(unit, "Watchdog timeout", after=lines[name])
        debian.until(
            lambda unit=unit, name=name: restarts(debian, unit) > before[name], f"{part}: started again", unit
        )
        if part in ("the network thread", "the trainer"):
            debian.says(unit, f"{STUCK}{part};", after=lines[name])
            debian.says(unit, "Fatal Python error: Aborted", after=lines[name])
        else:
            said = "\n".join(debian.journal(unit)[lines[name] :])
            assert STUCK not in said.partition("Watchdog timeout")[0]
    for name in parts:
        takes_part(debian, f"fedge-agent@{name}")
    assert restarts(debian, AGENT) == 0, "nobody else was started again"


@pytest.fixture
def memory(learning: Debian) -> Iterator[int]:
    """At most so many bytes for `device-2`: MemoryMax, or a cgroup of ours where a container gets none."""
    limit, unit = 150_000_000, "fedge-agent@device-2"
    drop_in(learning, unit, f"[Service]\nMemoryMax={limit}\n")
    learning.get("systemctl", "restart", unit)
    learning.until(lambda: is_active(learning, unit), "active", unit)
    group = Path("/sys/fs/cgroup/memory/fedge-deploy")
    ours = not learning.property(unit, "MemoryCurrent").isdecimal()
    if ours:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(limit))
        (group / "cgroup.procs").write_text(str(learning.outside(pid(learning, unit))))
    yield limit
    if ours:
        group.rmdir()


def test_one_that_takes_too_much_memory_is_killed_alone(learning: Debian, memory: int) -> None:
    """27: it is started again after a pause, and goes on when its data are reasonable again."""
    debian, unit, data = learning, "fedge-agent@device-2", learning.root / "srv/device-2/data.csv"
    before, reasonable, lines = restarts(debian, unit), data.read_bytes(), len(debian.journal(unit))
    header, row = reasonable.splitlines()[:2]
    data.write_bytes(b"\n".join([header, *[row] * (memory // 100)]))
    debian.until(lambda: restarts(debian, unit) > before, "killed", unit)
    data.write_bytes(reasonable)

    def said() -> list[str]:
        return debian.journal(unit)[lines:]

    killed = re.compile("status=9/KILL|oom-kill")
    debian.until(lambda: any(map(killed.search, said())), "it says how it was ended", unit)
    # Not what it said before it was killed, and it may have read the large data once more.
    debian.says(unit, COUNTS, after=lines + len(said()))
    assert is_active(debian, AGENT)
    assert restarts(debian, AGENT) == 0


def test_the_servers_renewed_certificates_are_taken_up(learning: Debian) -> None:
    """The daily look touches nothing early; what it renews broker and aggregator use, and devices go on."""
    debian, unit = learning, "fedge-renew-server@pumps"
    show = "import ssl; print(ssl.get_server_certificate(('127.0.0.1', %d)))"
    keys = (
        "aggregator/identity.pem",
        "aggregator/watch.pem",
        "broker/identity.pem",
        "registrar/identity.pem",
    )
    stay = ("mosquitto", "fedge-registrar@pumps")

    def shown() -> list[str]:
        return [debian.get("/opt/fedge/server/bin/python", "-c", show % port) for port in (8883, 8884)]

    def owners() -> list[str]:
        return [debian.get("stat", "--format=%a %U %G", f"{FOLDER}/{key}") for key in keys]

    assert is_active(debian, f"{unit}.timer")
    before, aggregator = (shown(), owners(), [pid(debian, name) for name in stay]), pid(debian, AGGREGATOR)
    debian.get("systemctl", "start", f"{unit}.service")
    debian.says(unit, f"broker/identity.pem: {NOT_DUE}")
    assert (shown(), pid(debian, AGGREGATOR)) == (before[0], aggregator)

    renew = f"/opt/fedge/server/bin/fedge renew --force --folder {FOLDER}"
    drop_in(debian, unit, f"[Service]\nExecStart=\nExecStart={renew}\n")
    debian.get("systemctl", "start", f"{unit}.service")
    debian.until(lambda: not set(shown()) & set(before[0]), "Mosquitto shows the new one", unit, "mosquitto")
    debian.until(lambda: pid(debian, AGGREGATOR) not in (0, aggregator), "started again", AGGREGATOR)
    debian.until(lambda: is_active(debian, AGGREGATOR), "at work", AGGREGATOR)
    for key in ("identity.pem", "watch.pem"):
        debian.get("cmp", f"{FOLDER}/aggregator/{key}", f"/run/credentials/{AGGREGATOR}.service/{key}")
    assert (owners(), [pid(debian, name) for name in stay]) == before[1:]
    takes_part(debian, AGENT)
    debian.sh(f"rm -r /etc/systemd/system/{unit}.service.d; systemctl daemon-reload")


# What comes and goes


def test_one_of_several_is_removed_alone(learning: Debian) -> None:
    """Two stay, and a round closes with the updates of both."""
    for name in list(OTHERS)[1:]:
        learning.get("fedge-agent", "uninstall", name, "--purge")
        assert not (learning.root / "etc/fedge/agents" / name).exists()
        assert learning.property(f"fedge-agent@{name}", "ActiveState") == "inactive"
    assert is_active(learning, AGENT)
    learning.until(lambda: is_active(learning, "fedge-agent@device-2"), "active", "fedge-agent@device-2")


def test_an_upgrade_in_the_middle_of_a_round_loses_nothing(learning: Debian) -> None:
    debian = learning
    before = debian.sh("readlink /opt/fedge/agent")
    lines = len(debian.journal(AGENT))
    debian.says(AGENT, begins("train"), after=lines)
    upgraded = walk(debian, sections(PAGE)["Upgrading"])
    assert upgraded.commands == 1
    assert debian.sh("readlink /opt/fedge/agent") != before
    debian.says(AGENT, STOPPED, after=lines)
    said = debian.journal(AGENT)[lines:]
    stopped = next(i for i, line in enumerate(said) if line == STOPPED)
    begun = [line.split(":")[0] for line in said[:stopped] if begins("train") in line]
    debian.says(AGENT, f"{begun[-1]}: {COUNTS}", after=lines)
    assert restarts(debian, AGENT) == 0


def test_an_upgrade_that_fails_leaves_the_old_one_at_work(learning: Debian, wheel: Path) -> None:
    """A file that is no wheel, and a version that is installed but does not start."""
    debian = learning
    before, process = debian.sh("readlink /opt/fedge/agent"), pid(debian, AGENT)
    broken = debian.root / "root" / "broken" / wheel.name
    broken.parent.mkdir()
    broken.write_bytes(b"no wheel")
    upgrade = ["fedge-agent", "install", "/root/pump-1.fedge", "--wheel", f"/root/broken/{wheel.name}"]
    done = debian.run(*upgrade)
    assert done.returncode == os.EX_UNAVAILABLE
    assert_tells(done.stderr, "exit code ")
    assert pid(debian, AGENT) == process
    with ZipFile(wheel) as whole, ZipFile(broken, "w") as changed:
        for name in whole.namelist():
            changed.writestr(name, "1 / 0" if name == "agent/shell/loop.py" else whole.read(name))
    done = debian.run(*upgrade)
    assert done.returncode == os.EX_UNAVAILABLE
    assert_tells(done.stdout, "going back to ", before)
    assert debian.sh("readlink /opt/fedge/agent") == before
    assert debian.sh("ls /opt/fedge | grep -c agent") == "2"
    takes_part(debian, AGENT)


@pytest.mark.parametrize("end", ["down", "kill"])
def test_after_the_machine_was_off_all_goes_on(learning: Debian, end: str) -> None:
    """Powered off in good order, and with the plug pulled in the middle of a round."""
    debian = learning
    debian.says(AGENT, begins("train"), after=len(debian.journal(AGENT)))
    (debian.down if end == "down" else debian.kill)()
    debian.up()
    debian.until(lambda: is_active(debian, AGENT), "the agent is up", AGENT)
    debian.says(AGENT, COUNTS, after=len(debian.journal(AGENT)))
    for unit in (AGGREGATOR, "mosquitto", "fedge-registrar@pumps", "fedge-broker-reload.path"):
        debian.until(lambda unit=unit: is_active(debian, unit), "it is up", unit)
    debian.says(AGGREGATOR, closed("train"))
    rounds = [line for line in debian.journal(AGGREGATOR) if closed("train") in line]
    assert {line.split()[1].split(".")[0] for line in rounds} == {"1"}, "the generation is still the first"


def test_what_is_removed_leaves_nothing_but_data(learning: Debian) -> None:
    debian = learning
    debian.get("fedge-agent", "uninstall", "device-2", "--purge")
    assert walk(debian, sections(PAGE)["Removing it"]).commands == 2
    for path in ("opt/fedge", "usr/local/sbin/quarantine-db", "etc/fedge/broker"):
        assert not (debian.root / path).is_symlink()
        assert not (debian.root / path).exists()
    assert debian.sh("ls /usr/local/bin") == ""
    assert debian.sh("find /etc/systemd -name '*fedge*' ! -path '*device-*'") == ""
    assert debian.sh("systemctl list-units --all --plain --no-legend 'fedge*' --state=active,failed") == ""
    assert is_active(debian, "mosquitto")
    debian.sh("ls /etc/fedge/agents/pumps /var/lib/fedge-agent/pumps/ /var/lib/fedge-aggregator/pumps/")
    assert debian.run("id", "fedge-registrar").returncode != 0
    assert debian.sh("stat -c %U /etc/fedge/federations/pumps/registrar/ca.key") == "root"


def test_it_comes_back_with_all_it_had_and_is_purged(debian: Debian, wheel: Path) -> None:
    debian.sh(f"python3 {wheel.name}/aggregator install pumps")
    # Another device, with the token; the folders are not there any more where this is tried again.
    debian.sh("rm -rf /etc/fedge/agents/pumps /var/lib/private/fedge-agent")
    debian.sh("test -s token || fedge enroll --token --uses 5 --folder /etc/fedge/federations/pumps >token")
    debian.sh(f"python3 {wheel.name}/agent install - --device pump-9 < token")
    debian.says(AGENT, COUNTS, after=len(debian.journal(AGENT)))
    assert debian.sh("stat -c '%a %U' /etc/fedge/agents/pumps/identity.pem") == "600 root"
    debian.sh("fedge-agent uninstall pumps --purge; fedge-aggregator uninstall pumps --purge")
    elsewhere = "! -path '/root/*' ! -path '/proc/*' ! -path '/etc/systemd/*' ! -path '/var/log/*'"
    assert debian.sh(f"find / -xdev -name '*fedge*' {elsewhere}") == ""
