"""The security part of `make check`: it fails on what is found, and says when it could not look."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


class Advisories(BaseHTTPRequestHandler):
    """An advisory service in OSV's format, which knows one vulnerability, of idna 2.8."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.7"}]}
        known = {
            "id": "PYSEC-2024-60",
            "summary": "quadratic",
            "affected": [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [fixed]}],
        }
        answer = {"vulns": [known]} if (name, asked["version"]) == ("idna", "2.8") else {}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *values: object) -> None:  # noqa: A002 (the base class's name)
        pass


@pytest.fixture
def advisories() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Advisories) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()
        thread.join()


def audit(requirements: Path, text: str, *options: str) -> tuple[int, str]:
    """Exit code and what is said of these requirements."""
    requirements.write_text(text)
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), str(requirements), *options]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.slow
def test_a_known_vulnerability_fails_the_check(tmp_path: Path, advisories: str) -> None:
    service = ("--vulnerability-service", "osv", "--osv-url", advisories)
    code, said = audit(tmp_path / "r.txt", "idna==2.8\nnumpy==2.4.6\n", *service)
    assert code == 1
    assert "idna 2.8: PYSEC-2024-60, fixed in: 3.7" in said
    assert "2 packages looked up, 1 vulnerabilities known" in said
    code, said = audit(tmp_path / "r.txt", "idna==3.20\nnumpy==2.4.6\n", *service)
    assert (code, said) == (0, "pip-audit: 2 packages looked up, 0 vulnerabilities known\n")


def test_without_a_network_it_says_that_it_has_not_looked(tmp_path: Path) -> None:
    nobody = ("--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/v1/query")
    code, said = audit(tmp_path / "r.txt", "idna==2.8\n", *nobody)
    assert code == 0
    assert "NOT AUDITED" in said
    assert "0 vulnerabilities" not in said


def test_requirements_that_cannot_be_read_are_no_lack_of_a_network(tmp_path: Path) -> None:
    code, said = audit(tmp_path / "r.txt", "idna>=2\n")
    assert code == 1
    assert "cannot look through" in said


@pytest.mark.parametrize(
    ("line", "code"),
    [("subprocess.run('ls', shell=True)", 1), ("random.random()", 1), ("subprocess.run(['/bin/ls'])", 0)],
)
def test_what_is_unsafe_fails_the_check(tmp_path: Path, line: str, code: int) -> None:
    file = tmp_path / "program.py"
    file.write_text(f"import random\nimport subprocess\n\n{line}\n")
    config = ("--config", str(ROOT / "pyproject.toml"), "--select", "S", "--no-cache")
    command = [sys.executable, "-m", "ruff", "check", *config, str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr
