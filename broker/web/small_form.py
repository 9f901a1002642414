"""Forms without a file: a few short fields in one body, bounded in bytes and in time.

1. A body is as long as the server allows (`client_max_size`), and whole within WHOLE_S: whoever
   begins one and never ends it would else hold a connection for ever, signed in or not.
2. Only what the page's own forms send is read. Whatever else comes is refused, and no mistake.
"""

import asyncio
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from broker.web.page_error import PageError

WHOLE_S: Final = 15.0
_KIND: Final = "application/x-www-form-urlencoded"
_FIELDS_MAX: Final = 20


async def read_small_form(request: web.Request) -> dict[str, str]:
    """Return the fields of a form; of two that have one name, the last.

    Raises:
        PageError: it is no such form, or came too slowly.
    """
    if request.content_type != _KIND and request.can_read_body:
        raise PageError(415, "this is not what the form of this page sends")
    try:
        async with asyncio.timeout(WHOLE_S):
            body = await request.read()
    except TimeoutError as error:
        raise PageError(408, "the form came too slowly, or stopped: send it again") from error
    except RequestPayloadError as error:
        raise PageError(400, "the form was cut short or damaged: send it again") from error
    try:
        fields = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS_MAX
        )
    except ValueError as error:
        raise PageError(400, "this is not what the form of this page sends") from error
    return dict(fields)
