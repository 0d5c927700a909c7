"""Look up the known vulnerabilities of every locked package: `python .ci/audit.py REQUIREMENTS [OPTIONS]`.

Ends with 1 if one is known, and with 0 if none is. A machine without a network, or with a mirror that has no
advisories, can say neither: then it says so, for each package or for all, and the build goes on. What stands
behind the file is handed to pip-audit as it is, for instance `--vulnerability-service osv`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PATIENCE_S = 180
UNREACHABLE = re.compile(
    r"ConnectionError|Timeout|ProxyError|SSLError|HTTPError|Could not connect|ServiceError"
)
"""How pip-audit's own words tell that the advisories were not reached; anything else is our mistake."""


def main(arguments: Sequence[str]) -> int:
    """Print what is known; returns the exit code."""
    requirements, *options = arguments
    try:
        report, why = _ask(requirements, options)
    except subprocess.TimeoutExpired:
        report, why = None, f"no answer within {PATIENCE_S} s"
    if report is None:
        print(f"pip-audit: NOT AUDITED: {requirements}: {why}")
        return 0
    packages = report["dependencies"]
    unknown = [package for package in packages if "skip_reason" in package]
    found = [(package, known) for package in packages for known in package.get("vulns", ())]
    for package, known in found:
        fixed = ", ".join(known["fix_versions"]) or "none yet"
        print(f"pip-audit: {package['name']} {package['version']}: {known['id']}, fixed in: {fixed}")
    if unknown:
        names = ", ".join(package["name"] for package in unknown[:3]) + (", …" if len(unknown) > 3 else "")
        why = str(unknown[0]["skip_reason"]).partition(":")[0]
        print(f"pip-audit: NOT AUDITED: {len(unknown)} of {len(packages)} packages ({names}): {why}")
    print(f"pip-audit: {len(packages) - len(unknown)} packages looked up, {len(found)} vulnerabilities known")
    return 1 if found else 0


def _ask(requirements: str, options: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """pip-audit's report, or why there is none."""
    if not Path(requirements).is_file():
        sys.exit(f"{requirements}: there is no such file")
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements, "--disable-pip", "--no-deps"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if ran.stdout.strip():
        return json.loads(ran.stdout), ""
    if UNREACHABLE.search(ran.stderr) is None:
        sys.exit(f"pip-audit cannot look through {requirements}:\n{ran.stderr}")
    return None, ran.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
