"""Measure `fedge enroll` for many devices, and several of them at once, while the broker runs.

The limit in the same run is the work that is unavoidable: one process that makes as many keys and signs as
many certificates with `cryptography`. The programs start as a user starts them, so their seconds include the
interpreter and its imports; a run with nothing to do measures that part alone. The exit code is 1 if a goal
is missed.

    python -m benchmarks.enrolment [--quick] [--json]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import machine
from benchmarks.processes import end_cleanly_on_sigterm
from fleet.demo.broker import LocalBroker
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding

DEVICES, QUICK_DEVICES = 2_000, 500
AT_ONCE = 8
GOAL_S = 120.0
"""The most seconds for 2,000 devices or fewer."""
GOAL_RATIO = 20.0
"""To bare keys and signatures, in seconds of CPU beyond those of a run with nothing to do: for the renewal
password's hash, the bundle and its fsync, the register."""
GOAL_AT_ONCE_RATIO = 4.0
"""The most CPU seconds of each of eight at once, as a multiple of one alone: waiting must cost no CPU."""
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Took:
    """The time that some work took, summed over its processes."""

    wall_s: float
    cpu_s: float
    """User and system."""


def measure(devices: int) -> dict[str, Any]:
    """Everything, once."""
    mosquitto = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if mosquitto is None:
        raise SystemExit("Mosquitto is not installed: apt-get install mosquitto")
    with tempfile.TemporaryDirectory(prefix="fedge-benchmark-") as name:
        Path(name).chmod(0o755)  # under root, Mosquitto becomes a user of its own
        folder, port, other_port = (
            FederationFolder(Path(name) / "pumps"),
            machine.free_port(),
            machine.free_port(),
        )
        found(folder, Founding("pumps", ["127.0.0.1"], port, other_port))
        listed = Path(name) / "list"
        listed.write_text("".join(f"pump-{number}\n" for number in range(devices)), encoding="utf-8")
        command = [mosquitto, "-c", str(folder.mosquitto_conf)]
        with LocalBroker("mosquitto", command, port, Path(name) / "broker.log"):
            bare = _timed(lambda: bare_identities(devices))
            alone = _run(folder, ["first"])
            all_of_them = _run(folder, ["--from", str(listed)])
            again = _run(folder, ["--from", str(listed)])
            beside = _run(folder, ["one-more"])
            at_once = _run(folder, *([f"late-{number}"] for number in range(AT_ONCE)))
        enrolled = len(list(folder.devices.glob("*.fedge")))
    expected = devices + 2 + AT_ONCE
    figures = {
        "bare": bare, "one_alone": alone, "all": all_of_them, "all_again": again, "one_beside_all": beside,
        "eight_at_once": at_once,
    }  # fmt: skip
    ratio = (all_of_them.cpu_s - again.cpu_s) / bare.cpu_s
    at_once_ratio = at_once.cpu_s / AT_ONCE / beside.cpu_s
    return {
        "machine": machine.description(),
        "devices": devices,
        "seconds": {what: vars(took) for what, took in figures.items()},
        "devices_per_minute": round(devices / all_of_them.wall_s * 60),
        "goals": [
            _goal("all enrolled, s", all_of_them.wall_s, GOAL_S),
            _goal("all enrolled, times the CPU of bare keys and signatures", ratio, GOAL_RATIO),
            _goal("eight at once, each, times the CPU of one alone", at_once_ratio, GOAL_AT_ONCE_RATIO),
            _goal("devices without a bundle", expected - enrolled, 0),
        ],
    }


def bare_identities(count: int) -> None:
    """Make keys and sign certificates as ours are, ECDSA P-256 in PEM, with as little in them as can be."""
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    now = datetime.now(UTC)
    for number in range(count):
        key = ec.generate_private_key(ec.SECP256R1())
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"pump-{number}")]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=365))
            .sign(authority, hashes.SHA256())
        )
        certificate.public_bytes(serialization.Encoding.PEM)


def _run(folder: FederationFolder, *arguments: Sequence[str]) -> Took:
    """`fedge enroll` as processes that all start at once.

    Raises:
        SystemExit: one of them failed.
    """

    def work() -> None:
        at = ["--folder", str(folder.root)]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "fleet", "enroll", *each, *at],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for each in arguments
        ]
        try:
            said = [process.communicate(timeout=PATIENCE_S)[1] for process in started]
        finally:
            for process in started:
                process.kill()
        for process, text in zip(started, said, strict=True):
            if process.returncode:
                raise SystemExit(f"fedge enroll ended with {process.returncode}: {text.decode()}")

    return _timed(work)


def _timed(work: Callable[[], None]) -> Took:
    before, began_s = os.times(), time.monotonic()
    work()
    after, wall_s = os.times(), time.monotonic() - began_s
    return Took(round(wall_s, 3), round(sum(after[:4]) - sum(before[:4]), 3))


def _goal(what: str, value: float, most: float) -> dict[str, Any]:
    return {"what": what, "value": round(value, 3), "at_most": most, "met": value <= most}


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    labels = {
        "bare": "bare keys and signatures, one process",
        "one_alone": "fedge enroll, one, nobody else enrolled",
        "all": "fedge enroll --from, all",
        "all_again": "the same again: nothing to do",
        "one_beside_all": "fedge enroll, one more",
        "eight_at_once": "eight fedge enroll at once",
    }
    lines = [
        f"{report['devices']} devices on {report['machine']}",
        "",
        f"{'':<45}{'wall, s':>10}{'CPU, s':>10}",
    ]
    lines += [
        f"{label:<45}{report['seconds'][what]['wall_s']:>10.2f}{report['seconds'][what]['cpu_s']:>10.2f}"
        for what, label in labels.items()
    ]
    lines += ["", f"{report['devices_per_minute']} devices a minute", ""]
    lines += [
        f"{goal['what']:<60}{goal['value']:>8.2f}   at most {goal['at_most']:g}: "
        f"{'met' if goal['met'] else 'missed'}"
        for goal in report["goals"]
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_DEVICES} devices instead of {DEVICES}")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    end_cleanly_on_sigterm()
    report = measure(QUICK_DEVICES if options.quick else DEVICES)
    print(json.dumps(report, indent=2) if options.json else table(report))
    sys.exit(0 if all(goal["met"] for goal in report["goals"]) else 1)


if __name__ == "__main__":
    main()
