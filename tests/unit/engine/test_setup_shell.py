"""Goal: the set-up keeps its promises to the system. Method: its functions, in a folder apart.

What installs packages is tried by hand on minimal systems; docs/setup.md says which.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPTS = [ROOT / "run", ROOT / "workrs/oci/workrs-runc", *sorted((ROOT / "setup").glob("*.sh"))]
FUNCTIONS = {f"{name}.sh" for name in ("report", "apt", "python", "packages", "criu", "runtime")}
SHELLS = [["sh"], ["busybox", "sh"]]


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run *script* with all functions of the set-up, the policy file and prefix in *folder*."""
    lines = [
        *(f'. "{path}"' for path in SCRIPTS if path.name in FUNCTIONS),
        f"root={ROOT} prefix={folder}/opt",
        f"policy={folder}/policy policy_saved={folder}/policy.before-workrs",
        script,
    ]
    return subprocess.run(
        ["sh", "-euc", "\n".join(lines)], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("interpreter", SHELLS, ids=" ".join)
def test_every_script_is_understood_by_a_small_shell(script: Path, interpreter: list[str]) -> None:
    if shutil.which(interpreter[0]) is None:
        pytest.skip(f"no {interpreter[0]}")
    subprocess.run([*interpreter, "-n", script], check=True, timeout=60)


def test_service_starts_are_denied_only_for_the_time_being(tmp_path: Path) -> None:
    ran = shell('deny_starts; "$policy" docker start || echo "$?"; allow_starts', tmp_path)
    assert ran.stdout == "101\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interrupted", ["", "deny_starts;"])
def test_a_policy_that_was_there_is_put_back_also_after_a_killed_run(
    tmp_path: Path, interrupted: str
) -> None:
    policy = tmp_path / "policy"
    policy.write_text("#!/bin/sh\nexit 104\n")
    if interrupted:
        shell(interrupted, tmp_path)
        assert "101" in policy.read_text()
    shell("deny_starts; allow_starts", tmp_path)
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert list(tmp_path.iterdir()) == [policy]


def test_where_nothing_can_be_installed_each_step_says_what_to_type_and_goes_on(
    tmp_path: Path,
) -> None:
    ran = shell(
        "has() { false; }; can_apt() { false; }; is_root() { false; }; PATH=/usr/bin:/bin\n"
        "step_packages; step_fault_packages; step_test_packages; step_recipe_packages\n"
        "step_npm_packages; step_criu; step_runtime\n"
        "report_end; echo went on",
        tmp_path,
    )
    assert ran.stdout == "went on\n"
    said = ran.stderr.splitlines()
    assert sum("missing:" in line for line in said) == 15
    assert any("apt-get install" in line and "mosquitto" in line for line in said)
    assert sum("type:" in line for line in said) == sum("without:" in line for line in said) == 15


def test_what_is_in_place_is_named_only_when_asked(tmp_path: Path) -> None:
    steps = "has() { true; }; step_packages; step_fault_packages; step_test_packages"
    assert shell(steps, tmp_path).stderr == ""
    asked = shell(f"WORKRS_SETUP_VERBOSE=1; {steps}", tmp_path).stderr
    assert asked.count("ok") == 15


def test_a_failing_command_shows_its_last_lines(tmp_path: Path) -> None:
    ran = shell("quietly 'a test' sh -c 'seq 30; exit 3' || echo failed", tmp_path)
    assert ran.stdout == "failed\n"
    assert ran.stderr.splitlines()[0].endswith("a test failed, the last lines were:")
    assert ran.stderr.splitlines()[-1].strip() == "30"


@pytest.mark.parametrize(
    ("words", "code"), [(["help"], 0), ([], 0), (["-v", "help"], 0), (["x"], 2)]
)
def test_run_helps_and_refuses_what_it_does_not_know(words: list[str], code: int) -> None:
    ran = subprocess.run(
        [ROOT / "run", *words], check=False, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == code
    assert "usage: ./run" in ran.stdout + ran.stderr
