"""`workrs revoke NAME`: a member is let in no more, and what it has open is cut."""

from argparse import Namespace

from workrs.cli.calendar import wall_clock
from workrs.cli.enrol import add_directory_option, copies
from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.trust.cluster_directory import opened


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "revoke",
        "shut a member out of a cluster",
        examples=("workrs revoke pump-7 --cluster farm",),
    )
    it.argument("name", help="its name; every certificate and password under it ends")
    add_directory_option(it)
    return it


def run(asked: Namespace) -> int:
    """Revoke, and say what to bring where."""
    with opened(asked.cluster) as directory:
        ended = directory.revoke(asked.name, now=wall_clock())
        kinds = " and ".join(sorted({entry.kind.value for entry in ended}))
        print(f"{asked.name} ({kinds}) is revoked: {len(ended)} of its credentials ended here.")
        print("The nodes shut it out seconds after they have the new lists:")
        print(copies(directory, "revoked-*.pem", "passwords"))
    return OK
