"""Goal: the limits that docs/web.md tells are those that hold.

Method: its table, read from the page, beside the constants.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from broker.web import (
    attempt,
    door,
    job_board,
    new_job,
    own_jobs,
    server,
    session,
    settings,
    small_form,
    traffic,
    upload_form,
)

if TYPE_CHECKING:
    from broker.web.meter import Rate

PAGE = Path(__file__).parents[4] / "docs" / "web.md"


def limits() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8").partition("## Limits")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {what: how_much for what, how_much, _ in rows[1:]}


def often(of_one: Rate, of_all: Rate, whose: str) -> str:
    one = f"{of_one.burst} at once and {of_one.rate_per_s:g} a second {whose}"
    return f"{one}; {of_all.burst} and {of_all.rate_per_s:g}"


def test_the_table_of_limits_has_them() -> None:
    tries = f"{attempt.OF_NAME.burst} of a name from one address, then one every "
    tries += f"{1 / attempt.OF_NAME.rate_per_s:g} s; {attempt.OF_NETWORK.burst} of an address; "
    connections = f"{door.CONNECTIONS_MAX}, and {door.CONNECTIONS_OF_ONE_MAX} from one address; "
    strangers = often(traffic.OF_NETWORK, traffic.OF_STRANGERS, "from one address")
    idle_h, longest_h = session.IDLE_S / 3600, session.LONGEST_S / 3600
    of_one = new_job.UPLOADS_OF_ONE_MAX
    small_kib = server.FORM_MAX_BYTES >> 10
    assert limits() == {
        "an upload": f"{settings.UPLOAD_MAX_BYTES >> 20} MiB, `--web-upload-mb`",
        "a script": f"{settings.SCRIPT_MAX_BYTES >> 10} KiB",
        "uploads at one time": f"{new_job.UPLOADS_MAX}, and {of_one} of one name",
        "downloads at one time": f"{own_jobs.DOWNLOADS_MAX}",
        "a silent upload; a whole one": f"{upload_form.STALLED_S:g} s; "
        f"{upload_form.LONGEST_S / 60:g} min",
        "any other form": f"{small_kib} KiB, and {small_form.WHOLE_S:g} s until it is whole",
        "sessions": f"{session.SESSIONS_MAX}, and {session.SESSIONS_OF_ONE_MAX} of one name",
        "a session": f"ends {idle_h:g} h after its last use, {longest_h:g} h after its beginning",
        "wrong tries": f"{tries}{attempt.OF_ALL.burst} in all",
        "requests of strangers": f"{strangers} from all",
        "requests of visitors": f"{often(traffic.OF_VISITOR, traffic.OF_VISITORS, 'of one name')} "
        "of all",
        "connections": f"{connections}one that asks for nothing ends after {door.IDLE_S:g} s",
        "jobs that are shown": f"{job_board.JOBS_MAX} of a visitor",
    }
