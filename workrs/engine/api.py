"""Requests to a Docker Engine over its socket, with the standard library alone.

For the few calls around an engine's start and stop, where the Docker SDK's 0.15 s to import
would be the longest part.
"""

import http.client
import json
import socket
from pathlib import Path


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("engine", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def request(method: str, engine: Path, path: str, *, timeout_s: float = 5.0) -> bytes:
    """Send one request and return the body of its answer.

    Raises:
        OSError: no answer, or one that is not of the 200s.
    """
    connection = _UnixConnection(engine, timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"{method} {path}: {error!r}") from error
    finally:
        connection.close()
    if response.status // 100 != 2:
        raise OSError(f"{method} {path}: {response.status} {body.decode(errors='replace')}")
    return body


def is_ready(engine: Path) -> bool:
    """Return whether the engine at the socket *engine* answers."""
    try:
        request("GET", engine, "/_ping", timeout_s=1.0)
    except OSError:
        return False
    return True


def remove_containers(engine: Path) -> None:
    """Remove all containers, of which none should be running."""
    for container in json.loads(request("GET", engine, "/containers/json?all=1")):
        request("DELETE", engine, f"/containers/{container['Id']}?force=1&v=1")
