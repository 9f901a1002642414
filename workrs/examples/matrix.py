"""A chain of N x N integer matrix products: M(k+1) = M(k) x S modulo a prime.

The job of the paper's benchmark. Its state lies in memory (the matrix, and ballast of a
chosen size that every product touches); the result is a digest of all of it, so a single
lost or repeated product, or one wrong byte of restored memory, gives another result.

Input: JSON with n, products, seed, ballast_mb, pace_s (least seconds per product, 0: as
fast as it goes), save. A line per product goes to /job/trace, which is part of the digest. When
the agent can only keep files, save makes the program go on from /job/state.
"""

import hashlib
import json
import marshal
import os
import random
import time

PRIME = 2_147_483_647
PAGE = 4096
Matrix = list[list[int]]
JOB = os.environ.get("WORKRS_JOB_DIR", "/job")


def product(left: Matrix, right_columns: Matrix) -> Matrix:
    """Return left x right modulo PRIME; the right one is given by its columns."""
    return [
        [sum(map(int.__mul__, row, column)) % PRIME for column in right_columns] for row in left
    ]


def report(done: int, total: int) -> None:
    """Say how far the job is."""
    with open(f"{JOB}/progress", "a") as progress:
        progress.write(f"{done / total:.4f} product {done} of {total}\n")


def load_state() -> tuple[int, Matrix, bytes] | None:
    """Return (products done, matrix, ballast) as an earlier start saved them, or None."""
    try:
        with open(f"{JOB}/state", "rb") as state:
            saved: tuple[int, Matrix, bytes] = marshal.load(state)
    except (OSError, ValueError, EOFError):
        return None
    return saved


def save_state(state: tuple[int, Matrix, bytes]) -> None:
    """Save the state in one step, so that a copy of the folder never has half of it."""
    with open(f"{JOB}/state.new", "wb") as new:
        marshal.dump(state, new)
    os.replace(f"{JOB}/state.new", f"{JOB}/state")


def main() -> None:
    """Multiply, and print the digest of all that was computed."""
    with open(f"{JOB}/in/input") as given:
        wanted = json.load(given)
    n, total = wanted["n"], wanted["products"]
    rng = random.Random(wanted.get("seed", 1))
    matrix = [[rng.randrange(PRIME) for _ in range(n)] for _ in range(n)]
    columns = [[rng.randrange(PRIME) for _ in range(n)] for _ in range(n)]
    ballast = bytearray(rng.randbytes(wanted.get("ballast_mb", 0) << 20))
    keep_files = wanted.get("save", False)
    done = 0
    if os.environ.get("WORKRS_RESUMED") == "1" and (saved := load_state()):
        done, matrix, ballast = saved[0], saved[1], bytearray(saved[2])
    with open(f"{JOB}/trace", "a" if done else "w") as trace:
        while done < total:
            begun = time.monotonic()
            matrix = product(matrix, columns)
            done += 1
            for page in range(done % 16 * PAGE, len(ballast), 16 * PAGE):
                ballast[page] = (ballast[page] + matrix[0][0]) & 255
            trace.write(f"{done} {matrix[0][0]} {matrix[-1][-1]}\n")
            trace.flush()
            report(done, total)
            if keep_files:
                save_state((done, matrix, bytes(ballast)))
            time.sleep(max(0.0, wanted.get("pace_s", 0) - (time.monotonic() - begun)))
    digest = hashlib.sha256(json.dumps(matrix).encode())
    digest.update(ballast)
    with open(f"{JOB}/trace", "rb") as trace:
        # After a start from files, products since the last copy may stand there twice.
        lines = sorted(set(trace.read().splitlines()), key=lambda line: int(line.split()[0]))
        digest.update(b"\n".join(lines))
    print(json.dumps({"n": n, "products": total, "sha256": digest.hexdigest()}))


if __name__ == "__main__":
    main()
