"""A program called as a function: what it says and what it ends with, without a start of Python."""

import logging
import os
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess


def call(
    main: Callable[[list[str]], int], *arguments: str | Path, folder: Path | str = os.curdir
) -> CompletedProcess[str]:
    """Call a program's `main` in this folder; logging is afterwards as it was."""
    root, words = logging.getLogger(), list(map(str, arguments))
    handlers, level = root.handlers[:], root.level
    out, err = StringIO(), StringIO()
    try:
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            code: object = main(words)
    except SystemExit as ended:
        code = ended.code
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return CompletedProcess(
        words, code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue()
    )
