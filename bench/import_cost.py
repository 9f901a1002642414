"""What `import device_client` adds to `import paho.mqtt.client`, which every MQTT client pays.

Run: .venv/bin/python bench/import_cost.py [ROUNDS]
Each round is a fresh interpreter that imports one after the other and reads its own CPU time and
resident memory between. Bytecode is cached, in a folder of the bench's own: a round that is not
counted makes it. CPU time, since a busy machine stretches the time on the wall; both, and the ratio
to paho's own, are printed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 15
LIMIT_S, LIMIT_MIB = 0.020, 3.0
_ROUND = """
import os, time
def look():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return time.process_time(), time.perf_counter(), pages * os.sysconf("SC_PAGE_SIZE") / 2**20
start = look()
import paho.mqtt.client
middle = look()
import device_client
end = look()
import json
print(json.dumps([[b - a for a, b in zip(*pair)] for pair in ((start, middle), (middle, end))]))
"""


def measure(cache: str) -> list[list[float]]:
    """Return CPU seconds, seconds and MiB of paho, and what the client adds."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", _ROUND],
        check=True,
        capture_output=True,
        env=kept | {"PYTHONPYCACHEPREFIX": cache},
    )
    read: list[list[float]] = json.loads(done.stdout)
    return read


def main() -> int:
    """Print the medians; return 1 when a limit is passed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as cache:
        measure(cache)
        found = [measure(cache) for _ in range(rounds)]
    paho, ours = (
        [statistics.median(part[which][column] for part in found) for column in range(3)]
        for which in range(2)
    )
    print(f"{rounds} fresh interpreters, Python {sys.version.split()[0]}, medians")
    print("|  | CPU ms | ms | MiB |\n|---|---|---|---|")
    for name, (cpu_s, wall_s, mib) in {"paho-mqtt": paho, "device_client adds": ours}.items():
        print(f"| {name} | {cpu_s * 1e3:.1f} | {wall_s * 1e3:.1f} | {mib:.1f} |")
    shares = [f"{mine / its:.0%}" for mine, its in zip(ours, paho, strict=True)]
    print(f"| of paho's | {' | '.join(shares)} |")
    return int(ours[0] > LIMIT_S or ours[2] > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
