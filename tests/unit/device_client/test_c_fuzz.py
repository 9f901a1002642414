"""Goal: nothing that a broker sends makes the C client misbehave, however it is cut into pieces.

Method: tests/c_client/fuzz.c under sanitizers, with buffers exactly as large as it is told; every
input is played whole and in pieces. Guards are taken out one by one: each must be missed.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.c_compiler import CLIENT, SANITIZED, SOURCES, compiled, needs_gcc

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_gcc
ROUNDS = 8_000

GUARDS = {
    "a topic that does not fit": (
        "if (c->rx_stage == TOPIC && want <= c->config->rx_bytes) {",
        "if (c->rx_stage == TOPIC) {",
    ),
    "a text that does not fit": ("if (room == 0) {", "if (room == 99) {"),
    "a topic longer than its packet": (
        "return number > 0 && number + id_bytes <= c->rx_left ?",
        "return number > 0 ?",
    ),
    "a length of more than four digits": ("return c->rx_shift < 28 ?", "return c->rx_shift ?"),
    "a job that ends while it is read": ("if (c->rx_job == job) {", "if (c->rx_job != job) {"),
    "a broker that takes nothing": ("? WORKRS_E_SILENT : WORKRS_OK;", "? WORKRS_OK : WORKRS_OK;"),
    "a silent broker": ("return WORKRS_E_SILENT;\n    if (c->asked", "{}\n    if (0 && c->asked"),
}


def play(program: Path, rounds: int, seed: int) -> subprocess.CompletedProcess[str]:
    command = [program, str(rounds), str(seed)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_no_input_does_harm_and_pieces_change_nothing() -> None:
    done = play(compiled(SOURCES / "fuzz.c"), 5 * ROUNDS, 1)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert int(lines["rounds"][2]) > 1000, "splits after every byte"
    lost = [int(n) for n in lines["lost"]]
    # Refused, not understood, not answered, no majority: inputs get far enough for each.
    assert min(lost[4], lost[6], lost[7], lost[8]) > 20
    assert min(int(n) for n in lines["told"]) > 20, "every state is reached"


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_taken_out_is_missed(guard: str, tmp_path: Path) -> None:
    kept, without = GUARDS[guard]
    source = (CLIENT / "workrs.c").read_text()
    assert source.count(kept) == 1
    (tmp_path / "workrs.c").write_text(source.replace(kept, without))
    program = tmp_path / "fuzz"
    sources = [tmp_path / "workrs.c", SOURCES / "fuzz.c"]
    subprocess.run(
        ["gcc", "-std=c99", *SANITIZED, f"-I{CLIENT}", *sources, "-o", program], check=True
    )
    assert play(program, ROUNDS, 1).returncode != 0
