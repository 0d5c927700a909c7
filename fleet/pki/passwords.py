"""The broker's password file: one line `user:$7$iterations$salt$hash` for each user with a password.

`$7$` is Mosquitto's mark of PBKDF2-HMAC-SHA512, from 2.0 on; salt and hash are in base64.
"""

import base64
from collections.abc import Mapping

from fedge.identity.provisioning import ITERATIONS, Verifier


def password_file(users: Mapping[str, Verifier]) -> str:
    """The whole file, by user name; a name has no colon and no line end.

    >>> password_file({"greenhouse_pi-1__renew": Verifier(salt=bytes(12), hash=bytes(64))})[:48]
    'greenhouse_pi-1__renew:$7$101$AAAAAAAAAAAAAAAA$A'
    """
    return "".join(f"{user}:{_entry(verifier)}\n" for user, verifier in sorted(users.items()))


def _entry(verifier: Verifier) -> str:
    salt, hash_ = (base64.b64encode(part).decode() for part in (verifier.salt, verifier.hash))
    return f"$7${ITERATIONS}${salt}${hash_}"
