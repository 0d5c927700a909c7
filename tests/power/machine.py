"""A virtual machine whose power can be cut.

QEMU emulates the processor, so that it runs wherever the tests run. SIGKILL ends it between two instructions
of the guest. Gone then are the guest's memory, its page cache and its uncommitted journal: all that no
program had synced. What the guest has written to its disk stays: it lies in the host's page cache, which
SIGKILL does not touch whatever `cache=` says, so the host need not sync either (`cache=unsafe`). This is a
disk without a volatile cache of its own; one that forgets what was not flushed is not simulated.
"""

import shutil
import subprocess
import time
from pathlib import Path

from fleet.demo.broker import Broker
from tests.power.image import Image

MEMORY_MB = 1024
DISK = "256M"
PATIENCE_S = 240.0
"""How long anything may take: emulated, on a machine that is busy with something else too."""


class Machine(Broker):
    """A machine with a broker in it, which listens here on the port it has inside.

    Args:
        image: what it boots.
        folder: where its disk and its console are kept.
        port: of the broker.
    """

    def __init__(self, image: Image, folder: Path, port: int) -> None:
        self.name = "a virtual machine"
        self.url = f"mqtt://127.0.0.1:{port}"
        self.cuts = 0
        self.port = port
        self._image = image
        self._disk = folder / "disk.ext4"
        self._copy = folder / "copy.ext4"
        self._console = folder / "console"
        self._process: subprocess.Popen[bytes] | None = None

    def format(self, content: Path) -> None:
        """Make a new disk with the content of a folder."""
        self._disk.unlink(missing_ok=True)
        _run("mke2fs", "-q", "-t", "ext4", "-d", content, self._disk, DISK)

    def restart(self) -> None:
        """Boot, and return when its programs have been started.

        Raises:
            AssertionError: it does not boot.
        """
        assert self._process is None
        self._console.unlink(missing_ok=True)
        drives = {self._image.disk: "readonly=on", self._disk: "cache=unsafe"}
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"),
                *("-m", str(MEMORY_MB), "-display", "none", "-no-reboot", "-nodefaults"),
                *("-serial", f"file:{self._console}"),
                *("-kernel", self._image.kernel, "-initrd", self._image.initrd),
                *("-append", "root=/dev/vda ro console=ttyS0 quiet panic=-1 net.ifnames=0 init=/init.sh"),
                *(
                    part
                    for file, how in drives.items()
                    for part in ("-drive", f"file={file},format=raw,if=virtio,{how}")
                ),
                *(
                    "-nic",
                    f"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:{self.port}",
                ),
            ],
            stdin=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + PATIENCE_S
        while "POWER on" not in self.console():
            assert time.monotonic() < deadline_s, self.console()
            assert self._process.poll() is None, self.console()
            time.sleep(0.1)

    def kill(self) -> None:
        """Cut its power."""
        assert self._process is not None
        self.check()
        self._process.kill()
        self._process.wait()
        self._process = None
        self.cuts += 1

    def check(self) -> None:
        """Make sure that it runs, and that none of its programs has ended.

        Raises:
            AssertionError: says which, and what was said before.
        """
        assert self._process is not None
        assert self._process.poll() is None, self.console()
        assert "POWER ended" not in self.console(), self.console()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def console(self) -> str:
        """All that was said since it booted."""
        return self._console.read_text(errors="replace") if self._console.exists() else ""

    def mirror(self, folder: Path) -> None:
        """Replace a folder by what is on the disk, as the next boot will find it; the disk is left alone.

        Raises:
            subprocess.CalledProcessError: the file system cannot be repaired from its journal.
        """
        shutil.copyfile(self._disk, self._copy)
        subprocess.run(["e2fsck", "-p", str(self._copy)], check=False, capture_output=True)
        _run("e2fsck", "-f", "-n", self._copy)
        shutil.rmtree(folder)
        _run("debugfs", "-R", f"rdump /fleet {folder.parent}", self._copy)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
