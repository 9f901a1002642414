"""Goal: a device with the file that `workrs enrol device` wrote needs nothing else to be let in.

Method: a real Mosquitto that asks for a certificate, or for a password over TLS; the credential is
rendered by the code that enrols, its certificates are made by openssl.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device_client import ConfigError, CredentialRefusedError, Device
from tests.integration.device_peer import (
    PATIENT,
    WAIT_S,
    Broker,
    ScriptedNode,
    assert_told_in_vain,
)
from tests.mosquitto_fixture import HOST, free_port
from workrs.domain.ids import ClientId
from workrs.trust.credential import Credential, CredentialError, Endpoint, render
from workrs.trust.kind import Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = {"image": "img", "command": ["x"], "input": "abc"}


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl("-keyout", "ca.key", "-out", "ca", "-subj", "/CN=ca")
        for name in (HOST, "pump-7"):
            self._openssl(
                *("-CA", "ca", "-CAkey", "ca.key", "-keyout", f"{name}.key", "-out", name),
                *("-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{HOST}"),
            )
        for key in folder.glob("*.key"):
            key.chmod(0o644)  # Mosquitto gives up root before it reads its own.

    def _openssl(self, *words: str) -> None:
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        command = ("openssl", "req", "-x509", *new, *words)
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def expire(self, name: str) -> None:
        """Put a certificate that ended yesterday in the place of this one."""
        key = serialization.load_pem_private_key((self.folder / "ca.key").read_bytes(), None)
        old = x509.load_pem_x509_certificate(self.read(name).encode())
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        new = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number)
        for extension in old.extensions:
            new = new.add_extension(extension.value, extension.critical)
        ended = old.not_valid_before_utc - timedelta(days=1)
        new = new.not_valid_before(ended - timedelta(days=1)).not_valid_after(ended)
        signed = new.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (self.folder / name).write_bytes(signed)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def credential(self, broker: Broker, *, password: str | None = None) -> Path:
        path = self.folder / f"credential-{password}.pem"
        shown = Credential(
            path=path,
            cluster="test",
            kind=Kind.DEVICE,
            name=ClientId("pump-7"),
            nodes=(Endpoint("n1", HOST, broker.port),),
            valid_until_wall="2099-01-01",
            authority=self.read("ca"),
            password=password,
        )
        own = ("", "") if password else (self.read("pump-7.key"), self.read("pump-7"))
        path.touch(mode=0o600)
        path.write_text(render(shown, key=own[0], certificate=own[1]))
        return path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def secure(authority: Authority, inside: int, more: str) -> str:
    folder = authority.folder
    return (
        f"cafile {folder}/ca\ncertfile {folder}/{HOST}\nkeyfile {folder}/{HOST}.key\n{more}\n"
        f"listener {inside} {HOST}\n"
    )


def assert_refused(credential: Path, why: str) -> None:
    """Fail unless who waits for a job of this device's is told that it is not let in, and why."""
    with Device(credential=credential, timing=PATIENT) as device:
        job = device.submit(SPEC)
        assert_told_in_vain(lambda: device.result(job, timeout=0.5), CredentialRefusedError, why)


def test_a_certificate_is_shown_and_nothing_else_need_be_told(
    make_broker: Callable[..., Broker], authority: Authority
) -> None:
    inside = free_port()
    asks = "require_certificate true\nuse_identity_as_username true"
    broker = make_broker(more=secure(authority, inside, asks))
    path = authority.credential(broker)
    with ScriptedNode(broker, port=inside):
        with Device(credential=path, outbox=authority.folder / "box") as device:
            assert device.result(device.submit(SPEC), timeout=WAIT_S).value == b"cba"
        with Device("pump-7", [broker.address], credential=str(path)) as device:
            assert device.result(device.submit(SPEC), timeout=WAIT_S).value == b"cba"
        # What a small device has: paho and the standard library. Nothing of it makes certificates.
        code = (
            "import sys; from device_client import Device\n"
            f"with Device(credential={str(path)!r}) as device:\n"
            "    print(device.result(device.run('f', b'ab'), timeout=60).text)\n"
            "assert not {'cryptography', 'pydantic'} & set(sys.modules)"
        )
        command = [sys.executable, "-c", code]
        assert subprocess.run(command, check=True, capture_output=True).stdout == b"ba\n"


def test_a_password_is_enough_where_there_is_no_certificate(
    make_broker: Callable[..., Broker], authority: Authority
) -> None:
    users = authority.folder / "users"
    users.touch()
    subprocess.run(["mosquitto_passwd", "-b", users, "pump-7", "secret"], check=True)
    users.chmod(0o644)
    inside = free_port()
    broker = make_broker(more=secure(authority, inside, f"password_file {users}"))
    with ScriptedNode(broker, port=inside):
        with Device(credential=authority.credential(broker, password="secret")) as device:
            assert device.result(device.submit(SPEC), timeout=WAIT_S).value == b"cba"
        assert_refused(authority.credential(broker, password="no"), "refused")


def test_a_device_whose_certificate_is_not_taken_is_told_what_that_can_be(
    make_broker: Callable[..., Broker], authority: Authority, tmp_path: Path
) -> None:
    """Which of two things is heard is a race of TLS 1.3: the alert, or only the end."""
    (tmp_path / "other").mkdir()
    asks = "require_certificate true\nuse_identity_as_username true"
    broker = make_broker(more=secure(authority, free_port(), asks))
    other = Authority(tmp_path / "other")
    path = authority.credential(broker)
    text = path.read_text()
    for part in ("pump-7", "pump-7.key"):
        assert authority.read(part) in text
        text = text.replace(authority.read(part), other.read(part))
    path.write_text(text)
    assert_refused(path, "another cluster")


@pytest.mark.parametrize("whose", [HOST, "pump-7"], ids=["of the node", "of the device"])
def test_a_certificate_that_has_expired_is_told_so(
    make_broker: Callable[..., Broker], authority: Authority, whose: str
) -> None:
    authority.expire(whose)
    asks = "require_certificate true\nuse_identity_as_username true"
    broker = make_broker(more=secure(authority, free_port(), asks))
    assert_refused(authority.credential(broker), "expired")


def test_what_contradicts_the_credential_or_cannot_be_used_is_refused_at_once(
    broker: Broker, authority: Authority
) -> None:
    path = authority.credential(broker)
    with pytest.raises(ConfigError, match="is of pump-7, not of pump-8"):
        Device("pump-8", credential=path)
    with pytest.raises(ConfigError, match="give it alone"):
        Device(credential=path, password="x")
    with pytest.raises(ConfigError, match="give it one, or a credential"):
        Device(nodes=[broker.address])
    with pytest.raises(ConfigError, match="nodes is empty"):
        Device("pump-7")
    path.chmod(0o644)
    with pytest.raises(CredentialError, match="chmod 600"):
        Device(credential=path)
