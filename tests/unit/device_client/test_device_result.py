"""Goal: a device never takes a result that is not there for an empty one.

Method: a session whose node never answers, given final reports.
"""

import pytest

from device_client.error import ResultGoneError, ResultUnavailableError
from device_client.report import parse_json
from device_client.session import Session


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b'{"state": "succeeded", "result": ""}', b""),
        (b'{"state": "succeeded", "result_b64": "AAE="}', b"\0\1"),
        (b'{"state": "succeeded", "reason": "its result is no longer kept"}', ResultGoneError),
        (b'{"state": "succeeded", "result_b64": "!"}', ResultUnavailableError),
    ],
)
def test_only_a_result_that_was_sent_is_a_result(
    payload: bytes, value: bytes | type[Exception]
) -> None:
    session = Session(
        "pump-7",
        ["127.0.0.1:9"],
        outbox=None,
        username=None,
        password=None,
        tls=None,
        blob_urls=(),
        result_max_bytes=1 << 20,
        timing=None,
    )
    try:
        report = parse_json("j1", payload)
        assert report is not None
        if isinstance(value, type):
            with pytest.raises(value, match="result"):
                session.finish(report, None)
        else:
            assert session.finish(report, None).value == value
    finally:
        session.close()
