"""Passwords of devices that cannot do certificates, hashed as Mosquitto keeps them.

A line of its file is `name:$7$ITERATIONS$SALT$HASH`: PBKDF2 with SHA-512, salt and hash in
base64. `workrs enrol` makes every password of 128 random bits, which nobody guesses, so the
iterations are few: the broker has one thread, and spends their time on every try to connect.
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

ITERATIONS: Final = 1_000
"""0.5 ms of the broker's thread at each connect. 20,000 would let a flood of wrong passwords,
50 a second, take all of it."""
_SALT_BYTES: Final = 12
"""What Mosquitto 2.0 takes; no more, no less."""
_HASH_BYTES: Final = 64


def new_password() -> str:
    """Return 128 random bits as 32 characters that a person can type."""
    return secrets.token_hex(16)


def hash_password(password: str) -> str:
    """Return what the file has behind the name and the colon."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _digest(password, salt, ITERATIONS)
    return f"$7${ITERATIONS}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def is_right(password: str, hashed: str) -> bool:
    """Return whether *password* is the one that was hashed; False for a damaged line, too."""
    parts = hashed.split("$")
    if len(parts) != 5 or parts[:2] != ["", "7"] or not parts[2].isdecimal():
        return False
    try:
        salt, expected = b64decode(parts[3], validate=True), b64decode(parts[4], validate=True)
    except Base64Error:
        return False
    iterations = int(parts[2])
    if not 1 <= iterations <= 1_000_000:
        return False
    return hmac.compare_digest(_digest(password, salt, iterations), expected)


def _digest(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, _HASH_BYTES)
