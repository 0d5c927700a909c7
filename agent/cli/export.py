"""Export the model that this device uses as an ONNX file; it needs the extra `onnx`."""

from pathlib import Path

from agent.cli.predict import used_by, weights_of
from agent.config import AgentSettings
from agent.shell import model_file
from agent.trainers.extensions import load_extensions
from fedge.algorithms.kept_parameters import UNTRAINED, untrained
from fedge.errors import ConfigError, StateError
from fedge.storage.atomic_files import atomic_write

EXTRA = "export needs the packages onnx and onnxruntime: pip install 'fedge[onnx]'"


def export(settings: AgentSettings, file: Path, *, shared: bool) -> str:
    """Write the model that `predict` uses to `file`; returns a line that says which one it is.

    The metadata are those of the aggregator's export, and `kind`: shared or personal; of a model of
    the device's own also `personal`, the part that made it, and `made_in`, the round; of a shared model with
    parameters that nobody trains `untrained`, which names them, as the line does. A model whose ONNX file
    does not compute what Fedge computes is not written.

    Args:
        settings: the configuration.
        file: the file to write; a former one is replaced.
        shared: whether to export the shared model, also where this device uses one of its own.

    Raises:
        ConfigError: the extra is not installed, or an extension cannot be loaded.
        StateError: this device holds no model yet, its file is damaged, or `file` cannot be written.
    """
    try:
        from fedge.export.metadata import Origin
        from fedge.export.onnx_file import checked_onnx
    except ImportError as error:
        raise ConfigError(f"{EXTRA} ({error})") from None
    load_extensions(settings)  # the owner's extensions may define its layers
    path = used_by(settings, shared=shared)
    stored = model_file.require(path)
    task, model, own = stored.decoded_task, stored.decoded_model, stored.own
    origin = Origin(settings.federation, model.generation, model.round, stored.model_digest.hex())
    kind = "shared" if own is None else own.chosen
    told = {"kind": kind} | ({} if own is None else {"personal": own.name, "made_in": own.round})
    unfit = {UNTRAINED: untrained(stored.local)} if stored.local else {}
    told |= unfit
    made = checked_onnx(task, weights_of(path, task, model), origin, None, told)
    if made.onnx is None:
        raise StateError(f"{file}: is not written: {made.withheld}")
    atomic_write(file, made.onnx)
    made_in = f"{model.generation}.{model.round}" if own is None else own.round
    said = f"{file}: the {kind} model of round {made_in}"
    return f"{said}; {unfit[UNTRAINED]}" if unfit else said
