"""A time zone that is none is an error: the hours of the owner's conditions would be those of UTC."""

import logging
import os
from pathlib import Path

import pytest

from agent.__main__ import main
from agent.shell.zone import check_zone, local_zone
from fedge.errors import ConfigError
from tests.wording import assert_tells, telling


@pytest.mark.parametrize(
    "name",
    ["", "UTC", ":UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT", "<+0330>-3:30", "UTC0", "JST-9"],
)
def test_these_are_zones(name: str) -> None:
    check_zone({"TZ": name})


@pytest.mark.parametrize("name", ["Europe/Berlln", "MEZ", "UTC+", "/no/such/file", "5", "../../etc"])
def test_these_are_none(name: str) -> None:
    with pytest.raises(ConfigError, match=telling("environment variable TZ: ", f"{name!r}")):
        check_zone({"TZ": name})


def test_names_are_those_of_the_machines_own_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe/Berlin").write_bytes(b"TZif2")
    monkeypatch.setattr("agent.shell.zone.TZPATH", (str(tmp_path),))
    check_zone({"TZ": "Europe/Berlin"})
    check_zone({"TZ": str(tmp_path / "Europe/Berlin")})
    with pytest.raises(ConfigError):
        check_zone({"TZ": "Europe/Paris"})


def test_without_the_variable_the_machines_zone_must_be_there(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    check_zone({}, link)  # there is none: UTC, as systemd has it
    link.symlink_to(tmp_path / "zoneinfo/Europe/Berlin")
    with pytest.raises(ConfigError, match=telling("localtime: ", "Berlin")):
        check_zone({}, link)
    check_zone({"TZ": "UTC"}, link)


def test_the_agent_does_not_start_by_hours_that_are_not_its_owners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text('federation = "a"\ndevice = "b"\n[data]\nsource = "npz"\npath = "a.npz"\n')
    monkeypatch.setenv("TZ", "Europe/Berlln")
    monkeypatch.setattr("agent.shell.loop.Loop", None)  # it is not reached
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger(), "level", logging.getLogger().level)
    assert main(["--config", str(config)]) == os.EX_CONFIG
    assert_tells(capsys.readouterr().err, "'Europe/Berlln'")


def test_the_zone_is_named(tmp_path: Path) -> None:
    assert local_zone({"TZ": ":Europe/Berlin"}).startswith("Europe/Berlin, now ")
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    assert local_zone({}, link).startswith("Asia/Tokyo, now ")
