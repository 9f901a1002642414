"""A device as a process of its own, so that it can be killed: submits a job, waits for its result.

    python -m workrs.faults.sender NAME OUTBOX JOB HOST:PORT …

The spec is read from standard input; empty, the job is one of the outbox. It prints `kept` as
soon as the job is on the device's disk, then the result as it is.
"""

import json
import sys

from device_client import Device

RESULT_S = 60.0


def main(name: str, outbox: str, job: str, *nodes: str) -> None:
    """Submit and wait."""
    given = sys.stdin.read()
    with Device(name, nodes, outbox=outbox, insecure=True) as device:
        if given:
            device.submit(json.loads(given), job=job)
        sys.stdout.write("kept\n")
        sys.stdout.flush()
        sys.stdout.write(device.result(job, timeout=RESULT_S).text)


if __name__ == "__main__":
    main(*sys.argv[1:])
