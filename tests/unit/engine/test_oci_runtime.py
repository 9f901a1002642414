"""Goal: the OCI runtime is runc unless told otherwise. Method: the real script, a runc that echoes.

The script reads its hand-overs from a fixed folder, so a copy with another folder is tried.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workrs import oci
from workrs.domain.errors import ContainerError

ID = "ab" * 32
CREATE = (
    *("--root", "/r/moby", "--log", "/l", "--log-format", "json"),
    *("create", "--bundle", "/b", "--pid-file", "/b/pid", "--no-new-keyring", ID),
)


@pytest.fixture
def handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(oci, "_HANDED_OVER", tmp_path / "restore")
    (tmp_path / "checkpoint" / "image").mkdir(parents=True)
    return tmp_path / "restore"


@pytest.fixture
def call(tmp_path: Path, handed_over: Path) -> Callable[..., list[str]]:
    script = (Path(oci.__file__).parent / "workrs-runc").read_text()
    copy = tmp_path / "workrs-runc"
    copy.write_text(
        script.replace("/run/workrs/restore", str(handed_over)).replace(
            "/opt/workrs/bin", tmp_path.as_posix()
        )
    )
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runc.chmod(0o755)

    def run(*arguments: str) -> list[str]:
        ran = subprocess.run(
            ["sh", copy, *arguments], check=True, capture_output=True, text=True, timeout=60
        )
        return ran.stdout.splitlines()

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        CREATE,
        ("--root", "/r", "start", ID),
        ("--root", "/r", "delete", "--force", ID),
        ("--version",),
        ("--root", "/r", "kill", ID, "9"),
        ("features",),
        ("create", "--bundle", "/a b/*", "../../etc"),
    ],
)
def test_without_a_hand_over_arguments_reach_runc_unchanged(
    call: Callable[..., list[str]], arguments: tuple[str, ...]
) -> None:
    assert call(*arguments) == list(arguments)


def test_a_create_with_a_hand_over_becomes_a_restore_of_the_same_container(
    call: Callable[..., list[str]], handed_over: Path, tmp_path: Path
) -> None:
    oci.hand_over(ID, tmp_path / "checkpoint")
    link = handed_over / ID
    assert call(*CREATE) == [
        *("--root", "/r/moby", "--log", "/l", "--log-format", "json"),
        *("restore", "--detach", "--file-locks"),
        *("--image-path", f"{link}/image", "--work-path", f"{link}/work"),
        *("--bundle", "/b", "--pid-file", "/b/pid", ID),
    ]
    assert (tmp_path / "checkpoint" / "work").stat().st_mode & 0o777 == 0o700


def test_the_start_of_a_restored_container_does_nothing_once(
    call: Callable[..., list[str]], handed_over: Path, tmp_path: Path
) -> None:
    oci.hand_over(ID, tmp_path / "checkpoint")
    assert call("--root", "/r", "start", ID) == []
    assert not list(handed_over.iterdir())
    assert call("--root", "/r", "start", ID) == ["--root", "/r", "start", ID]


def test_a_delete_uses_the_hand_over_up_and_reaches_runc(
    call: Callable[..., list[str]], handed_over: Path, tmp_path: Path
) -> None:
    oci.hand_over(ID, tmp_path / "checkpoint")
    assert call("--root", "/r", "delete", ID) == ["--root", "/r", "delete", ID]
    assert not list(handed_over.iterdir())


def test_other_calls_for_a_container_with_a_hand_over_reach_runc_unchanged(
    call: Callable[..., list[str]], tmp_path: Path
) -> None:
    oci.hand_over(ID, tmp_path / "checkpoint")
    assert call("--root", "/r", "state", ID) == ["--root", "/r", "state", ID]
    exec_call = ["--root", "/r", "exec", "--process", "/p", ID]
    assert call(*exec_call) == exec_call


@pytest.mark.parametrize("container_id", ["", "ab", "../" * 22, "AB" * 32, ID + "\n"])
def test_only_full_container_ids_are_handed_over(
    container_id: str, handed_over: Path, tmp_path: Path
) -> None:
    with pytest.raises(ContainerError, match="container id"):
        oci.hand_over(container_id, tmp_path / "checkpoint")
    assert not handed_over.exists()


def test_a_checkpoint_without_images_is_refused(handed_over: Path, tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="no checkpoint images"):
        oci.hand_over(ID, tmp_path)
    assert not handed_over.exists()


def test_a_hand_over_can_be_taken_back_twice(handed_over: Path, tmp_path: Path) -> None:
    oci.hand_over(ID, tmp_path / "checkpoint")
    oci.take_back(ID)
    oci.take_back(ID)
    assert not list(handed_over.iterdir())
