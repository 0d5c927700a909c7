"""Errors in the command's options."""

import os

from fedge.errors import FedgeError


class UsageError(FedgeError):
    """The options are wrong; the text says what to use instead."""

    exit_code = os.EX_USAGE
