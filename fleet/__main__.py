"""The command `fedge`, for everything that concerns many devices at once."""

import os
import sys

from fedge.service import interrupts

if __name__ == "__main__" or sys.argv[0].endswith("/fedge"):  # as a program, not a module
    interrupts.prepare()

from fleet.demo.threads import ONE_THREAD

EXTRAS = {
    "aggregator": {
        "cryptography",
        "immutables",
        "onnx",
        "onnxruntime",
        "prometheus_client",
        "rich",
        "safetensors",
        "typer",
    },
    "demo": {"iotcore", "plotly", "seglearn", "sklearn"},
    "privacy": {"dp_accounting"},
}
"""The packages of each extra; `demo` brings those of `aggregator` too."""


def main() -> None:
    """Run the command line; a missing extra is reported in one sentence."""
    os.environ.update(ONE_THREAD)
    try:
        from fleet.cli.commands import app

        interrupts.run("fedge", app)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
        if extra is None:
            raise
        if sys.argv[1:2] in (["demo"], ["try"], ["simulate"]):
            extra = "demo"  # these need both extras
        print(
            f"fedge needs the extra {extra!r} ({error.name} is missing): pip install 'fedge[{extra}]'",
            file=sys.stderr,
        )
        sys.exit(os.EX_CONFIG)


if __name__ == "__main__":
    main()
