"""Options of the page that a node serves to people who upload jobs."""

from workrs.cli.connection import address
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError, IdError
from workrs.domain.ids import client_id
from workrs.ports.bus import Address

_LOOPBACK = "127.0.0.1"


def add_web_options(it: Options) -> None:
    """Add where and how a node serves the page for people who upload jobs."""
    it.value(
        "--web",
        convert=place,
        metavar="[HOST:]PORT",
        help="serve a page there for people who upload jobs: on 127.0.0.1, or by HTTPS on another "
        "address, which takes a credential; default nowhere",
    )
    it.many(
        "--web-script",
        convert=script,
        metavar="FUNCTION=FILE",
        help="let visitors of the page bring a script for a function, in the place of its FILE",
    )
    it.value(
        "--web-upload-mb",
        convert=int,
        default=256,
        metavar="MIB",
        help="what one upload may have there",
    )


def place(text: str) -> Address:
    """Return where `PORT` or `HOST:PORT` is, or raise ConfigError: without a host, on loopback."""
    return address(f"{_LOOPBACK}:{text}" if text.isdecimal() else text)


def script(text: str) -> tuple[str, str]:
    """Return function and file of `FUNCTION=FILE`, or raise ConfigError."""
    name, mark, file = text.partition("=")
    if not mark or not file:
        raise ConfigError("write FUNCTION=FILE, for example python=main.py")
    try:
        return client_id(name), file
    except IdError as error:
        raise ConfigError(str(error)) from error
