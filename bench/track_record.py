"""Show that each bug of docs/track-record.md was one: its test fails on the code before the fix.

    .venv/bin/python bench/track_record.py [--only TEXT]

For each row that names a commit and a test: the tree of the fix is unpacked (or of the later
commit that the row says the test is of), and the test has to pass. Then the files of the fix,
the tests left out, are put back to what they were before it (or those of them that the row
names), and the same test has to fail by what it asserts, not because a name is missing. Nothing
is written into the repository.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "track-record.md"
TIMEOUT_S = 300
NAMES = re.compile(r"ImportError|AttributeError|TypeError|NameError|could not run")
"""Failures that show a change of names, not a bug."""


@dataclass(frozen=True, slots=True)
class Bug:
    """One row."""

    title: str
    commit: str
    test: str
    tree: str
    """The commit whose tree has the test."""
    files: tuple[str, ...]
    """What is put back; empty: all that the fix changed."""


def bugs() -> list[Bug]:
    """Return the rows that name a commit and a test."""
    found = []
    for line in RECORD.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        commit = re.fullmatch(r"`([0-9a-f]{7})`", cells[-1].strip(" |"))
        how = re.search(r"`(tests/[^`]+)`(?: of `(\w+)`)?(?:, (.*) put back)?", cells[-2:][0])
        if commit and how:
            files = tuple(re.findall(r"`([^`]+)`", how[3] or ""))
            found.append(Bug(cells[0], commit[1], how[1], how[2] or commit[1], files))
    return found


def git(*words: str) -> bytes:
    """Run git in the repository; return what it printed."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True).stdout


def unpack(tree: Path, commit: str, *paths: str) -> None:
    """Put the files of a commit into *tree*."""
    subprocess.run(["tar", "-x", "-C", tree], input=git("archive", commit, *paths), check=True)


def put_back(tree: Path, commit: str, only: tuple[str, ...]) -> None:
    """Undo what the commit did outside of the tests; modules that it added stay, unused."""
    if only:
        unpack(tree, f"{commit}~1", *only)
        return
    changes = git("diff", "--name-status", "--no-renames", f"{commit}~1", commit).decode()
    former = [
        path
        for kind, path in (line.split("\t") for line in changes.splitlines())
        if kind != "A" and not path.startswith(("tests/", "docs/"))
    ]
    unpack(tree, f"{commit}~1", *former)


def run(tree: Path, test: str) -> tuple[bool, str]:
    """Return whether the test passes, and the first line of the error if it does not."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", test]
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    if done.returncode not in (0, 1):
        errors = [f"  pytest could not run it: {done.stdout.strip()[-300:]}"]
    return done.returncode == 0, errors[0][1:].strip() if errors else ""


def main() -> int:
    """Try every row; return 1 if a test does not tell the code before from the code after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose text contains this")
    asked = parser.parse_args()
    wrong = 0
    rows = [bug for bug in bugs() if asked.only in f"{bug.title} {bug.commit} {bug.test}"]
    for bug in rows:
        with tempfile.TemporaryDirectory(prefix="workrs-track-") as folder:
            tree = Path(folder)
            unpack(tree, bug.tree)
            after, why = run(tree, bug.test)
            put_back(tree, bug.commit, bug.files)
            before, error = run(tree, bug.test)
        good = after and not before and not NAMES.search(error)
        wrong += not good
        verdict = "seen" if good else "NOT SEEN" if after else f"FAILS AFTER THE FIX, TOO: {why}"
        print(f"{bug.commit} {verdict}: {bug.title}\n        {error}", flush=True)
    print(f"{len(rows) - wrong} of {len(rows)} bugs seen")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
