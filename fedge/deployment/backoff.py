"""Waits before a failed service is started again: longer each time, up to five minutes.

systemd does this itself from version 254 on (RestartSteps=); Debian 12 has 252. So the unit counts its
failures with `ExecStopPost=… count` and waits with `ExecStartPre=… wait`, in a RuntimeDirectory= kept by
restarts.
"""

import os
import sys
import time
from pathlib import Path

FIRST_S, LONGEST_S = 5.0, 300.0
FORGOTTEN_AFTER_S = 1800.0
"""A failure that is older than this no longer counts."""


def pause_s(failures: int) -> float:
    """Return the pause before a start after this many failures in a row: 0, 5, 10, 20, … 300 s."""
    return 0.0 if failures == 0 else min(LONGEST_S, FIRST_S * 2.0 ** min(failures - 1, 30))


def failures(file: Path, now_s: float) -> int:
    """Return the number of failures in a row; `now_s` is the time by the file system's clock, in seconds."""
    try:
        recent = 0 <= now_s - file.stat().st_mtime < FORGOTTEN_AFTER_S
        return int(file.read_text()) if recent else 0
    except (OSError, ValueError):
        return 0


def main(arguments: list[str]) -> int:
    """Run as `python -m fedge.deployment.backoff count|wait`, by systemd."""
    file = Path(os.environ["RUNTIME_DIRECTORY"]) / "failures"
    count = failures(file, time.time())
    if arguments == ["wait"]:
        time.sleep(pause_s(count))
    elif os.environ.get("SERVICE_RESULT") == "success":
        file.unlink(missing_ok=True)
    else:
        file.write_text(str(count + 1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
