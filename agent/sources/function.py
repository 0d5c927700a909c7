"""Samples from a Python function of the device's owner."""

import importlib
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.sources.arrays import samples_from_arrays
from agent.sources.owner_code import run_owner_code
from agent.sources.samples import Samples
from fedge.data.disclosure import public
from fedge.errors import DataError


@dataclass(frozen=True)
class FunctionSource:
    """`module:function`, which is called without arguments and returns (X, y) or (X, y, series).

    The function runs in the agent's own process, with the agent's permissions.
    """

    callable: str
    path: Path | None = None
    """A folder in which the module is looked for, after the installed packages."""
    newest: int | None = None
    """How many of the last rows are used; None: all."""

    def fingerprint(self) -> Hashable:
        """Always a new value: only calling the function shows whether the data changed."""
        return object()

    def read(self) -> Samples:
        """Call the function.

        Raises:
            DataError: the function cannot be imported, raises, or returns something else; the text names the
                function.
        """
        function = self._function()
        with run_owner_code(
            f"{self.callable}:", public("the function that reads the data raised an exception")
        ):
            returned = function()
        if not isinstance(returned, tuple | list) or len(returned) not in (2, 3):
            what = f"a {type(returned).__name__}"
            if isinstance(returned, tuple | list):
                what += f" of {len(returned)}"
            raise DataError(
                f"{self.callable}: must return (X, y) or (X, y, series), got {what}",
                public("the function that reads the data must return (X, y) or (X, y, series)"),
            )
        return samples_from_arrays(self.callable, *returned, newest=self.newest)

    def _function(self) -> Callable[[], Any]:
        module_name, _, function_name = self.callable.partition(":")
        told = public("the module of the function that reads the data cannot be imported")
        if self.path is not None and str(self.path) not in sys.path:
            sys.path.append(str(self.path))
        with run_owner_code(f"{self.callable}: importing {module_name}", told):
            try:
                module = importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                where = f"{self.path} or the installed packages" if self.path else "the installed packages"
                raise DataError(
                    f"{self.callable}: there is no module {error.name!r} in {where}; "
                    "[data] path names the folder to look in",
                    told,
                ) from error
        function = getattr(module, function_name, None)
        if not callable(function):
            problem = "is not a function" if hasattr(module, function_name) else "does not exist"
            found = getattr(module, "__file__", None) or "a built-in module"
            raise DataError(
                f"{self.callable}: {function_name} {problem} in {found}",
                public("the function that reads the data does not exist"),
            )
        return function  # type: ignore[no-any-return]
