"""`workrs key`: the file with the keys that agents seal checkpoints with."""

from argparse import Namespace
from pathlib import Path

from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError

ACTIONS = ("make", "add", "turn", "show")


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "key",
        "make or change the keys that agents seal checkpoints with",
        examples=(
            "workrs key make /etc/workrs/checkpoint.key    # bring it to every agent",
            "workrs key add /etc/workrs/checkpoint.key     # bring it, restart them",
            "workrs key turn /etc/workrs/checkpoint.key    # and once more",
        ),
    )
    it.argument(
        "action",
        choices=ACTIONS,
        help="make: a new cluster's; add: a further key, for opening alone; turn: seal with the "
        "one that was added last; show: their names",
    )
    it.argument("file", help="the file, which nobody but agents may read")
    return it


def run(asked: Namespace) -> int:
    """Do it; print the names of the keys, never the keys."""
    from edge_agent.checkpoint import keys  # noqa: PLC0415 (the help needs none of it)

    path = Path(asked.file)
    if asked.action == "make":
        if path.exists():
            raise ConfigError(f"{path} is there already; `workrs key add {path}` adds a key to it")
        ring = keys.new_ring()
    else:
        ring = keys.read_keys(path)
    match asked.action:
        case "add":
            ring = keys.KeyRing(cluster=ring.cluster, keys=(*ring.keys, keys.new_key()))
        case "turn":
            ring = keys.KeyRing(cluster=ring.cluster, keys=(ring.keys[-1], *ring.keys[:-1]))
    if len(ring.keys) > keys.KEYS_MAX:
        raise ConfigError(f"{path} has {keys.KEYS_MAX} keys: take old ones out first")
    if asked.action != "show":
        keys.write_keys(path, ring)
    print(f"cluster {ring.cluster}")
    for number, key in enumerate(ring.keys):
        print(f"key {key.id.hex()}  {'opens' if number else 'seals and opens'}")
    return OK
