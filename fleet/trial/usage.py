"""Errors of whoever calls the command."""

import os

from fedge.errors import FedgeError


class UsageError(FedgeError):
    """The command was called in a way that cannot be meant; the text says what to call instead."""

    exit_code = os.EX_USAGE
