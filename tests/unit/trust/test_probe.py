"""Goal: what a node tries its broker with is nobody anywhere else, and nothing of it stays.

Method: a folder of the broker as it is during and after the self-test, and certificates held
against the cluster's authorities.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from broker.mosquitto_config import write_trust
from workrs.trust.cluster_directory import create
from workrs.trust.credential import Endpoint
from workrs.trust.kind import Kind
from workrs.trust.node_folder import NodeTrust, load_node
from workrs.trust.probe import PASSWORD_PROBE, Probes, make_probes
from workrs.trust.register import Register

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> NodeTrust:
    path = tmp_path_factory.mktemp("t") / "one"
    nodes = (Endpoint("n1", "127.0.0.1", 8883),)
    return load_node(create(path, Register(cluster="one", nodes=nodes), now=NOW).node_folder("n1"))


@pytest.mark.parametrize("kind", list(Kind))
def test_a_probe_was_not_signed_by_the_cluster(trust: NodeTrust, kind: Kind) -> None:
    probe = x509.load_pem_x509_certificate(
        make_probes("n1", now=NOW).members[kind].certificate.encode()
    )
    for each in Kind:
        text = trust.files[f"authority-{each.value}.pem"]
        authority = x509.load_pem_x509_certificate(text.encode())
        assert probe.issuer != authority.subject
        with pytest.raises((InvalidSignature, ValueError)):
            probe.verify_directly_issued_by(authority)


def test_after_the_self_test_the_broker_knows_no_probe(trust: NodeTrust, tmp_path: Path) -> None:
    probes = make_probes("n1", now=NOW)
    write_trust(tmp_path, trust, probes)
    during = {path.name: path.read_text() for path in tmp_path.iterdir()}
    for kind in Kind:
        assert during[f"authority-{kind.value}.pem"].count("BEGIN CERTIFICATE") == 2
    assert PASSWORD_PROBE in during["passwords"]
    write_trust(tmp_path, trust)
    after = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {name: after[name] for name in trust.files} == trust.files


def test_no_key_and_no_password_is_shown_or_left(
    trust: NodeTrust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    probes = make_probes("n1", now=NOW)
    probes.context(Kind.OPERATOR, trust.credential.authority)
    assert not list(tmp_path.iterdir())
    assert probes.password not in repr(probes)
    assert "PRIVATE KEY" not in repr(probes)
    assert Probes.name(Kind.OPERATOR) == "probe.operator"
