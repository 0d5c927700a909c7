"""The command `fedge`: what is done with many devices at once."""

import os
import sys

EXTRAS = {
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
    # Before NumPy loads: the baselines are then computed as a device would, and one seed gives one result.
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    try:
        from fleet.cli import app

        app()
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        print(
            f"fedge needs the extra 'demo' ({error.name} is missing): pip install 'fedge[demo]'",
            file=sys.stderr,
        )
        sys.exit(os.EX_CONFIG)


if __name__ == "__main__":
    main()
