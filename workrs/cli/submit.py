"""`workrs submit`: publish a job as a device, and wait for it if asked to."""

import asyncio
import base64
import sys
from argparse import Namespace
from typing import Final

from device_client import AsyncDevice, JobError, Report, State, Timing
from workrs.cli.connection import Caller, add_node_options, caller, connected
from workrs.cli.error import FAILED, OK
from workrs.cli.harmless import harmless
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.progress import Step, shown_progress
from workrs.cli.spec import add_spec_options, read_spec
from workrs.cli.table import print_json
from workrs.domain.errors import ConfigError, IdError, TimedOutError
from workrs.domain.ids import ClientId, client_id
from workrs.trust.kind import Kind

_RESULT_MAX_BYTES: Final = 4 << 30
_ACCEPT_TIMEOUT_S: Final = 30.0
_TIMING: Final = Timing(reask_period_s=5.0)
"""A person looks at the screen: a silent job is asked about sooner than a device would."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "submit",
        "publish a job as a device",
        examples=(
            "workrs submit job.json --wait > result.txt",
            "workrs submit --image busybox:1 --command 'sh -c \"echo $((6 * 7))\"' --wait",
            "workrs submit --function co2 --input co2.csv --device pump-7 --job trend-1",
            "workrs submit --image workrs/python:1 --command 'python3 /job/in/main.py' \\",
            "    --file main.py=./sum.py --env N=1000",
        ),
    )
    add_spec_options(it)
    it.value("--job", metavar="ID", help="the job's id; default a new one")
    add_submit_options(it)
    add_node_options(it)
    return it


def add_submit_options(options: Options) -> None:
    """Add as whom to submit, and what to wait for."""
    it = options
    it.value("--device", metavar="NAME", help="the device that submits; default your name")
    it.flag("--wait", help="show progress, then write the result to the standard output")
    it.value(
        "--timeout",
        convert=seconds,
        metavar="SECONDS",
        help="longest wait: for the acceptance (default 30), or with --wait for the end",
    )
    it.flag("--json", help="print what became of it as JSON")


def run(asked: Namespace) -> int:
    """Submit, and wait until the job is accepted, or ended."""
    who = caller(asked, Kind.DEVICE, Kind.OPERATOR)
    device = device_of(asked, who)
    return asyncio.run(publish(asked, who, device, read_spec(asked), job=asked.job))


def device_of(asked: Namespace, who: Caller) -> ClientId:
    """Return the device that submits.

    Raises:
        ConfigError: it is none, or not the one whose credential is used.
    """
    if asked.device is None:
        return who.user
    try:
        device = client_id(asked.device)
    except IdError as error:
        raise ConfigError(str(error)) from error
    if who.credential is not None and device != who.user:
        raise ConfigError(
            f"--device {device}: with a credential a job is submitted as its member, {who.user}"
        )
    return device


async def publish(
    asked: Namespace, who: Caller, device: ClientId, spec: dict[str, object], *, job: str | None
) -> int:
    """Submit *spec*, and wait as `add_submit_options` was told; return the exit code.

    Args:
        asked: the options.
        who: talks to the nodes.
        device: submits.
        spec: of the job; bytes stand where data is.
        job: its id, or a new one.

    Raises:
        NoNodeError: no node could be reached.
        TimedOutError: what was waited for did not come in time.
    """
    # A device keeps trying for ever; a person wants to know at once that nobody is there.
    async with connected(who):
        pass
    nodes = [str(node) for node in who.nodes]
    async with AsyncDevice(
        device,
        nodes,
        username=asked.user or device,
        password=who.password,
        tls=who.tls,
        insecure=asked.insecure,
        result_max_bytes=_RESULT_MAX_BYTES,
        timing=_TIMING,
    ) as client:
        job = await client.submit(spec, job=job)
        work = _wait if asked.wait else _accept
        usual_s = None if asked.wait else _ACCEPT_TIMEOUT_S
        limit_s = usual_s if asked.timeout is None else asked.timeout
        try:
            async with asyncio.timeout(limit_s):
                return await work(asked, client, device, job)
        except TimeoutError:
            goes_on = "has no outcome yet" if asked.wait else "was not accepted by a majority"
            raise TimedOutError(
                f"{device}/{job} {goes_on} after {limit_s:g} s; workrs show {device}/{job} "
                "tells what became of it"
            ) from None


async def _accept(asked: Namespace, client: AsyncDevice, device: ClientId, job: str) -> int:
    """Wait until a majority has the job on disk: from then on it is not lost."""
    async for report in client.watch(job):
        if not report.state.is_pending:
            break
        if report.note:
            print(f"workrs: {device}/{job}: {harmless(report.note)}", file=sys.stderr)
    if report.state is State.REJECTED:
        return _report_end(asked, device, report, None)
    if asked.json:
        print_json({"job": f"{device}/{job}", "state": report.state.value})
    else:
        print(f"{device}/{job}")
    return OK


async def _wait(asked: Namespace, client: AsyncDevice, device: ClientId, job: str) -> int:
    value: bytes | None = None
    with shown_progress(f"{device}/{job}", sys.stderr) as show:
        try:
            async for report in client.watch(job):
                show(_step(report))
            value = (await client.result(job)).value
        except JobError as error:
            report = error.report
    return _report_end(asked, device, report, value)


def _step(report: Report) -> Step:
    return Step(
        state=report.state.value,
        agent=report.agent,
        attempt=report.attempt,
        note=report.note,
        progress=report.progress,
        is_final=report.state.is_final,
    )


def _report_end(asked: Namespace, device: ClientId, report: Report, value: bytes | None) -> int:
    """Print how the job ended; the result goes to the standard output as it is."""
    if asked.json:
        print_json(_as_json(device, report, value))
    elif value is not None:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    else:
        reason = f": {harmless(report.reason)}" if report.reason else ""
        print(f"workrs: {device}/{report.job} {report.state}{reason}", file=sys.stderr)
    return OK if report.state is State.SUCCEEDED else FAILED


def _as_json(device: ClientId, report: Report, value: bytes | None) -> dict[str, object]:
    found: dict[str, object] = {
        "job": f"{device}/{report.job}",
        "state": report.state.value,
        "attempt": report.attempt,
        "agent": report.agent,
        "exit_code": report.exit_code,
        "reason": report.reason,
    }
    if value is not None:
        try:
            found["result"] = value.decode()
        except UnicodeDecodeError:
            found["result_b64"] = base64.b64encode(value).decode()
    return found
