"""`fedge roster`: the devices that may take part now, with the fingerprints of their keys."""

from pathlib import Path

from typer.testing import CliRunner

from fedge.identity import bundle
from fedge.identity.certified_keys import read_own
from fedge.identity.pinned_roster import line_of, read_roster
from fleet.cli.commands import app
from fleet.pki.enrolment import enroll
from fleet.pki.folder import FederationFolder
from fleet.pki.init_federation import found
from fleet.pki.init_options import Founding
from fleet.pki.revocation import revoke


def test_the_register_has_a_line_for_each_device_that_is_not_revoked(tmp_path: Path) -> None:
    folder = FederationFolder(tmp_path / "greenhouse")
    found(folder, Founding("greenhouse", ["broker.example"]))
    expected = []
    for name in ("pi-1", "pi-2", "pi-3"):
        identity = tmp_path / f"{name}.pem"
        identity.write_bytes(bundle.unpack(enroll(folder, name).bundle.read_bytes())["identity.pem"])
        expected.append(line_of(name, read_own(identity, identity).public))
    revoke(folder, "pi-2")
    result = CliRunner().invoke(app, ["roster", "--folder", str(folder.root)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [expected[0], expected[2]], "and no aggregator, watch or registrar"
    (tmp_path / "roster").write_text(result.stdout)
    assert read_roster(tmp_path / "roster").devices == {"pi-1", "pi-3"}
