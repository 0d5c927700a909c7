"""The owner's own code for training: extensions, and a trainer.

`agent.toml` names both, and the agent loads them once, when it starts. A message can only name parts that
are loaded by then; it cannot name code.
"""

import importlib
import sys

from agent.config import AgentSettings
from agent.settings.trainer import TrainerSettings
from agent.sources.owner_code import summary
from agent.trainers.built_in import BuiltIn
from fedge.algorithms.registry import load
from fedge.algorithms.trainer import Trainer
from fedge.errors import ConfigError


def load_extensions(settings: AgentSettings) -> None:
    """Register the parts that `extensions` lists, so that rounds can ask for them.

    Raises:
        ConfigError: a part does not exist, cannot be imported, is no `Entry`, or has the name of another
            part.
    """
    for extension in settings.extensions:
        load(extension)


def trainer_of(settings: TrainerSettings) -> Trainer:
    """Return the trainer that `[trainer] use` names, or the built-in one.

    Raises:
        ConfigError: the function cannot be imported, raises, or returns no trainer; the text names module and
            function.
    """
    if settings.use is None:
        return BuiltIn()
    where, (module, _, name) = f"[trainer] use: {settings.use!r}", settings.use.partition(":")
    if settings.path is not None and str(settings.path) not in sys.path:
        sys.path.append(str(settings.path))
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        places = f"{settings.path} or the installed packages" if settings.path else "the installed packages"
        raise ConfigError(
            f"{where}: there is no module {error.name!r} in {places}; "
            "[trainer] path names the folder to look in"
        ) from error
    except Exception as error:
        raise ConfigError(f"{where}: importing {module} raised {summary(error)}; correct it") from error
    if not callable(function):
        raise ConfigError(f"{where}: {module} has no function {name}; name one that returns a Trainer")
    try:
        trainer = function()
    except Exception as error:
        raise ConfigError(f"{where}: it raised {summary(error)}; it is called without arguments") from error
    if not callable(getattr(trainer, "work", None)):
        raise ConfigError(
            f"{where}: it returned {type(trainer).__name__}, expected a Trainer: an object with a method "
            "work(job, cancelled)"
        )
    return trainer  # type: ignore[no-any-return]
