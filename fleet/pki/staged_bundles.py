"""Stage new bundles until their certificates are in the register; then move them to their places.

So a killed run leaves no bundle in `devices/` that the register does not know, and loses none that it knows:
the next run moves the valid bundles and removes the rest. The broker is told last, so no device may connect
before its bundle is in its place.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fedge.errors import ConfigError
from fedge.identity import bundle
from fedge.storage.atomic_files import exists
from fedge.storage.batches import filled, left_behind, move_out
from fedge.storage.files import read_file
from fleet.pki.certificates import describe
from fleet.pki.folder import SECRET, FederationFolder
from fleet.pki.new_device import Made
from fleet.pki.register import Register

_PREFIX = ".enrolling-"


@contextmanager
def staged(folder: FederationFolder, register: Register, made: Sequence[Made]) -> Iterator[None]:
    """Stage the bundles of devices; after the block, those that the register has move to their places.

    This also happens if the block ends by an exception: Ctrl-C may come just after the transaction.

    Raises:
        StateError: something cannot be read or written.
    """
    contents = {folder.bundle(each.device).name: each.bundle for each in made}
    with filled(folder.devices, _PREFIX, contents, mode=SECRET) as aside:
        try:
            yield
        finally:
            counted = [each.device for each in made if _is_known(each.issued.serial, register)]
            move_out(aside, [folder.bundle(device).name for device in counted], folder.devices)


def finish(folder: FederationFolder, register: Register) -> None:
    """Finish interrupted runs: move valid bundles to their places, and remove the others.

    Raises:
        StateError: something cannot be read or written.
    """
    for aside in left_behind(folder.devices, _PREFIX):
        counted = [path.name for path in sorted(aside.iterdir()) if _counts(read_file(path), register)]
        move_out(aside, counted, folder.devices)


def is_staged(folder: FederationFolder, device: str) -> bool:
    """Whether an interrupted run has left a bundle of a device.

    Raises:
        StateError: something cannot be read.
    """
    name = folder.bundle(device).name
    return exists(folder.devices) and any(
        exists(aside / name) for aside in left_behind(folder.devices, _PREFIX)
    )


def _counts(data: bytes, register: Register) -> bool:
    """Whether the register has a bundle's certificate, and it is not revoked."""
    try:
        files = bundle.unpack(data)
        pem = files.get(bundle.IDENTITY, b"") + files.get(bundle.CERTIFICATE, b"")
        issued = describe(pem[pem.index(b"-----BEGIN CERTIFICATE-----") :])
    except (ConfigError, ValueError):  # written only in part
        return False
    return _is_known(issued.serial, register)


def _is_known(serial: str, register: Register) -> bool:
    known = register.certificate(serial)
    return known is not None and not known.revoked
