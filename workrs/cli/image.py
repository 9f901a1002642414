"""`workrs image build`: a job image of this machine's Python, loaded into engines."""

import sys
from argparse import Namespace
from dataclasses import asdict

from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.cli.table import print_json, size

_ENGINE = "unix:///var/run/docker.sock"


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "image",
        "make a job image from this machine's Python",
        examples=(
            "workrs image build",
            "workrs image build --package numpy --package statsmodels",
            "workrs image build --engine tcp://10.0.0.7:2375 --name lab/python --json",
        ),
    )
    it.argument("action", choices=("build",), help="build: make it and load it into the engines")
    it.many(
        "--engine", default=[_ENGINE], metavar="URL", help="engine that needs it; repeat for more"
    )
    it.many("--package", metavar="NAME", help="an installed Python package to put into it")
    it.value("--name", default="workrs/python", metavar="NAME", help="name before the tag")
    it.flag("--json", help="print JSON")
    return it


def run(asked: Namespace) -> int:
    """Build; print the id that a spec names."""
    from workrs.engine.image import build_image  # noqa: PLC0415 (the help needs no Docker SDK)

    built = build_image(asked.engine, packages=asked.package, name=asked.name)
    if asked.json:
        print_json(asdict(built))
        return OK
    print(built.tag)
    done = f"loaded into {', '.join(built.loaded)}" if built.loaded else "there already"
    print(f"{built.image_id}, {size(built.size_bytes)}, {done}", file=sys.stderr)
    return OK
