"""The command `fedge`: what is done with many devices at once."""

import os
import sys

from fleet.threads import ONE_THREAD

EXTRAS = {
    "cryptography",
    "iotcore",
    "onnx",
    "onnxruntime",
    "plotly",
    "rich",
    "safetensors",
    "seglearn",
    "sklearn",
    "typer",
}


def main() -> None:
    """Run the command line; a missing extra is told in one sentence."""
    os.environ.update(ONE_THREAD)
    try:
        from fleet.cli import app

        app()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        print(
            f"fedge demo needs the extra 'demo' ({error.name} is missing): pip install 'fedge[demo]'",
            file=sys.stderr,
        )
        sys.exit(os.EX_CONFIG)


if __name__ == "__main__":
    main()
