"""Goal: what `workrs init`, `enrol` and `revoke` leave on disk is right, closed, and never lost.

Method: a directory in a temporary folder; certificates are read back by the library's parser.
"""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from workrs.domain.errors import ConfigError, IdError
from workrs.trust.cluster_directory import ClusterDirectory, create, opened, write_new
from workrs.trust.credential import CredentialError, Endpoint, load_credential
from workrs.trust.kind import Kind
from workrs.trust.node_folder import (
    load_node,
    revoked_file,
    shut_out,
)
from workrs.trust.password import hash_password, is_right, new_password
from workrs.trust.register import Register, decode, encode
from workrs.trust.revocation import ListRefusedError, newer

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NODES: tuple[Endpoint, ...] = (
    Endpoint("n1", "10.0.0.1", 8883),
    Endpoint("n2", "node2.example", 8883),
    Endpoint("n3", "fd00::3", 9883),
)


@pytest.fixture
def directory(tmp_path: Path) -> ClusterDirectory:
    return create(tmp_path / "farm", Register(cluster="farm", nodes=NODES), now=NOW)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_member_is_named_by_its_certificate_and_finds_the_ports_of_its_kind(
    directory: ClusterDirectory,
) -> None:
    path = directory.enrol(Kind.AGENT, "a1", now=NOW)
    found, credential = certificate(path), load_credential(path)
    names = {part.oid: part.value for part in found.subject}
    assert names[NameOID.COMMON_NAME] == credential.name == "a1"
    assert names[NameOID.ORGANIZATIONAL_UNIT_NAME] == credential.kind.value == "agent"
    assert [str(at) for at in credential.nodes] == [
        "n1=10.0.0.1:8885",
        "n2=node2.example:8885",
        "n3=[fd00::3]:9885",
    ]
    assert found.not_valid_before_utc == NOW - timedelta(days=1)
    assert found.not_valid_after_utc == NOW + timedelta(days=730)
    assert credential.valid_until_wall == "2028-11-21"
    credential.client_context()


def test_only_a_node_may_be_a_server_and_only_for_its_hosts(directory: ClusterDirectory) -> None:
    def purposes(path: Path) -> list[x509.ObjectIdentifier]:
        return list(
            certificate(path).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        )

    for kind in (Kind.AGENT, Kind.DEVICE, Kind.OPERATOR):
        path = directory.enrol(kind, f"x-{kind.value}", now=NOW)
        assert purposes(path) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    node = directory.node_folder("n2") / "node.pem"
    assert ExtendedKeyUsageOID.SERVER_AUTH in purposes(node)
    hosts = certificate(node).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["node2.example"]


def test_no_certificate_outlives_its_authority(directory: ClusterDirectory) -> None:
    path = directory.enrol(Kind.DEVICE, "d1", now=NOW, days=100_000)
    assert certificate(path).not_valid_after_utc == directory.ends


@pytest.mark.parametrize("name", ["A1", "a_1", "a/1", "+", "#", "", "a" * 64, "a%u"])
def test_a_name_that_topics_or_permissions_could_misread_is_refused(
    directory: ClusterDirectory, name: str
) -> None:
    with pytest.raises(IdError):
        directory.enrol(Kind.AGENT, name, now=NOW)


def test_the_names_of_probes_are_nobody_elses(directory: ClusterDirectory) -> None:
    for name in ("probe", "probe.x", "probe.agent.n1"):
        with pytest.raises(ConfigError, match="kept for"):
            directory.enrol(Kind.AGENT, name, now=NOW)


def test_a_name_has_one_owner_among_all_kinds_until_it_is_revoked(
    directory: ClusterDirectory,
) -> None:
    first = directory.enrol(Kind.AGENT, "x", now=NOW).read_text()
    for kind in (Kind.AGENT, Kind.DEVICE, Kind.OPERATOR):
        with pytest.raises(ConfigError, match="x is taken"):
            directory.enrol(kind, "x", now=NOW)
    with pytest.raises(ConfigError, match="n1 is taken, as node"):
        directory.enrol_password("n1", now=NOW)
    directory.revoke("x", now=NOW)
    assert directory.enrol(Kind.DEVICE, "x", now=NOW).read_text() != first


def test_nothing_is_written_over(directory: ClusterDirectory) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        create(directory.path, Register(cluster="farm", nodes=NODES), now=NOW)
    path = directory.member_file("a1")
    write_new(path, "somebody else's")
    with pytest.raises(ConfigError, match="not written over"):
        directory.enrol(Kind.AGENT, "a1", now=NOW)
    assert path.read_text() == "somebody else's"
    assert not directory.register.of("a1")


def test_every_file_and_folder_is_for_its_owner_alone(directory: ClusterDirectory) -> None:
    directory.enrol_password("d1", now=NOW)
    paths = [directory.path, *directory.path.rglob("*")]
    assert len(paths) > 40
    assert not [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_renewed_member_has_two_files_and_both_are_revoked_at_once(
    directory: ClusterDirectory,
) -> None:
    directory.enrol(Kind.AGENT, "a1", now=NOW)
    second = directory.enrol(Kind.AGENT, "a1", now=NOW + timedelta(days=700), renew=True)
    assert second != directory.member_file("a1")
    with pytest.raises(ConfigError, match="no agent a2 to renew"):
        directory.enrol(Kind.AGENT, "a2", now=NOW, renew=True)
    assert len(directory.revoke("a1", now=NOW)) == 2
    revoked = load_node(directory.node_folder("n3")).lists[Kind.AGENT].revoked
    assert sorted(revoked.values()) == ["a1", "a1"]


def test_what_is_on_disk_is_taken_up_again(directory: ClusterDirectory) -> None:
    directory.enrol(Kind.AGENT, "a1", now=NOW)
    with opened(directory.path) as again:
        assert again.register == directory.register == decode(encode(directory.register))
        again.revoke("a1", now=NOW)
    with opened(directory.path) as last:
        assert not last.register.of("a1")
        with pytest.raises(ConfigError, match="nobody called"):
            last.revoke("a1", now=NOW)


def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no directory that `workrs init` made"), opened(tmp_path):
        pass


def test_an_older_list_is_refused_and_a_newer_one_says_who_is_shut_out(
    directory: ClusterDirectory,
) -> None:
    for name in ("a1", "a2"):
        directory.enrol(Kind.AGENT, name, now=NOW)
    directory.enrol_password("d1", now=NOW)
    folder = directory.node_folder("n1")
    before = load_node(folder)
    old_list = revoked_file(folder, Kind.AGENT).read_text()
    directory.revoke("a1", now=NOW)
    directory.revoke("d1", now=NOW)
    after = load_node(folder)
    assert shut_out(before, after) == {"a1", "d1"}
    assert shut_out(after, after) == frozenset()
    revoked_file(folder, Kind.AGENT).write_text(old_list)
    old = load_node(folder)
    assert old.lists[Kind.AGENT].number < after.lists[Kind.AGENT].number
    with pytest.raises(ListRefusedError, match="older than the one in use"):
        newer(after.lists[Kind.AGENT], old.lists[Kind.AGENT])
    assert old.with_lists(after.lists.values()).lists == after.lists
    assert shut_out(after, old.with_lists(after.lists.values())) == frozenset()


def test_a_damaged_or_foreign_file_is_never_used(
    directory: ClusterDirectory, tmp_path: Path
) -> None:
    other = create(tmp_path / "other", Register(cluster="farm", nodes=NODES), now=NOW)
    folder, foreign = directory.node_folder("n1"), other.node_folder("n1")
    for path in sorted(folder.iterdir()):
        if path.name == "passwords":
            continue
        whole = path.read_text()
        path.write_text(whole[: len(whole) // 2])
        with pytest.raises(CredentialError):
            load_node(folder)
        if path.name.startswith("revoked"):
            path.write_text((foreign / path.name).read_text())
            with pytest.raises(CredentialError, match="not signed by"):
                load_node(folder)
        path.unlink()
        with pytest.raises(CredentialError, match=r"cannot read"):
            load_node(folder)
        path.write_text(whole)
        path.chmod(0o600)
    load_node(folder)


def test_a_nodes_folder_proves_a_node_and_nothing_else(directory: ClusterDirectory) -> None:
    folder = directory.node_folder("n1")
    keys = [path.name for path in folder.iterdir() if "PRIVATE KEY" in path.read_text()]
    assert keys == ["node.pem"]
    assert {entry.kind for entry in directory.register.members} == {Kind.NODE}


def test_a_credential_that_others_can_read_is_refused(directory: ClusterDirectory) -> None:
    path = directory.enrol(Kind.AGENT, "a1", now=NOW)
    path.chmod(0o640)
    with pytest.raises(CredentialError, match=f"chmod 600 {path}"):
        load_credential(path)


def test_a_key_of_somebody_else_is_noticed(directory: ClusterDirectory) -> None:
    one, two = (directory.enrol(Kind.AGENT, name, now=NOW) for name in ("a1", "a2"))
    key = two.read_text().partition("-----BEGIN PRIVATE KEY")[2].partition("-----END PRIVATE")[0]
    own = one.read_text().partition("-----BEGIN PRIVATE KEY")[2].partition("-----END PRIVATE")[0]
    one.write_text(one.read_text().replace(own, key))
    with pytest.raises(CredentialError, match="is damaged"):
        load_credential(one).client_context()


def test_a_password_is_checked_against_its_hash_alone() -> None:
    password = new_password()
    hashed = hash_password(password)
    assert password not in hashed
    assert is_right(password, hashed)
    assert not is_right(password + "x", hashed)
    assert hash_password(password) != hashed
    for damaged in (
        "",
        "$7$",
        hashed[:-3],
        hashed.replace("$7$", "$6$"),
        "$7$0$AAAA$AAAA",
        "$7$9$*$*",
    ):
        assert not is_right(password, damaged)


def test_a_further_node_is_named_by_all_and_a_revoked_one_by_none(
    directory: ClusterDirectory,
) -> None:
    key = directory.node_folder("n1").joinpath("node.pem").read_text().partition("-----BEGIN")[2]
    path = directory.add_node(Endpoint("n4", "10.0.0.4", 8883), now=NOW)
    assert path == directory.node_folder("n4") / "node.pem"
    everybody = ["n1", "n2", "n3", "n4"]
    for name in everybody:
        assert [at.node for at in load_node(directory.node_folder(name)).credential.nodes] == (
            everybody
        )
    text = directory.node_folder("n1").joinpath("node.pem").read_text()
    assert text.partition("-----BEGIN")[2] == key
    with pytest.raises(ConfigError, match="n4 is taken"):
        directory.add_node(Endpoint("n4", "10.0.0.5", 8883), now=NOW)
    with pytest.raises(ConfigError, match="address of another node"):
        directory.add_node(Endpoint("n5", "10.0.0.4", 8883), now=NOW)

    directory.revoke("n4", now=NOW)
    assert directory.register.is_former_node("n4")
    assert [at.node for at in load_node(directory.node_folder("n1")).credential.nodes] == (
        everybody[:3]
    )
    assert not directory.node_folder("n4").exists()
    directory.add_node(Endpoint("n4", "10.0.0.4", 8883), now=NOW)
    assert not directory.register.is_former_node("n4")


def test_a_node_that_was_half_added_is_added_by_the_same_call(
    directory: ClusterDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = Endpoint("n4", "10.0.0.4", 8883)
    with monkeypatch.context() as patched:
        patched.setattr(ClusterDirectory, "enrol", lambda *_, **__: pytest.fail("crash"))
        with pytest.raises(pytest.fail.Exception):
            directory.add_node(at, now=NOW)
    directory.add_node(at, now=NOW)
    assert load_node(directory.node_folder("n4")).credential.name == "n4"


def test_a_members_file_with_a_certificate_that_is_none_is_named(
    directory: ClusterDirectory,
) -> None:
    path = directory.enrol(Kind.OPERATOR, "ann", now=NOW)
    head, mark, _ = path.read_text().partition("-----BEGIN CERTIFICATE-----\n")
    junk = f"{head}{mark}junk\n-----END CERTIFICATE-----\n"
    path.write_text(junk + directory.authorities[Kind.NODE])
    with pytest.raises(ConfigError, match=r"ann\.pem is damaged"):
        directory.an_operator()
