"""A network for a cluster: each member a host of its own, and what can be broken in between.

Hosts hang on one bridge, as machines on a switch. The switch is where packets are lost:

1. A cut loses packets without a word, as a cable in between would: both ends keep their
   sockets and learn nothing. It can be one-way.
2. Every change of the switch is atomic, and in force when the call returns.
3. What the thread that opened the network does, and the threads and processes that it
   starts, happens at the switch itself: an observer whom no fault touches.
4. A host is made when its name is first asked for; what was cut before does not touch it.
5. A door, once opened, stands before one port of a host: all that others send there passes a
   `Door`, which can be slow, deaf or slammed. The host's own traffic passes by. Each port has
   a door of its own. Connections that stood before it are reset when anything is sent on them.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from workrs.cli.cluster import Place
from workrs.faults.netns import Namespace, NetworkFaultError, new_namespace
from workrs.faults.proxy import Door, open_door

_NET: Final = "10.91.0"
_SWITCH_ADDRESS: Final = f"{_NET}.1"
_FIRST_HOST: Final = 11
_HOSTS_MAX: Final = 200
_DOOR_PORT: Final = 2
"""Where a host's first door listens; its next ones listen at the next ports."""

Way = tuple[str, str]
"""Names of a sender and a receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A member's machine, as far as the network goes."""

    name: str
    address: str
    namespace: Namespace

    @property
    def place(self) -> Place:
        """Return where the member runs."""
        return Place(host=self.address, prefix=self.namespace.prefix)


@dataclass(slots=True)
class Network:
    """A running network. Made by `open_network`."""

    switch: Namespace
    hosts: dict[str, Host] = field(default_factory=dict)
    doors: dict[tuple[str, int], Door] = field(default_factory=dict)
    """By member and port."""
    cuts: set[Way] = field(default_factory=set)
    """Ways on which nothing arrives."""
    losses: dict[Way, float] = field(default_factory=dict)
    """Share of packets that get lost, by way."""

    def host(self, member: str) -> Host:
        """Return a member's host, made at its first use.

        Raises:
            NetworkFaultError: The switch has no port left, or the kernel refuses.
        """
        if member not in self.hosts:
            number = len(self.hosts)
            if number == _HOSTS_MAX:
                raise NetworkFaultError(f"a switch has {_HOSTS_MAX} ports")
            namespace = new_namespace()
            self.hosts[member] = Host(
                name=member, address=f"{_NET}.{_FIRST_HOST + number}", namespace=namespace
            )
            self.switch.run("ip", "-batch", "-", given=_port(number, namespace))
            namespace.run("ip", "-batch", "-", given=_interface(self.address(member)))
        return self.hosts[member]

    def place(self, member: str) -> Place:
        """Return where a member runs: its address and the prefix of its command."""
        return self.host(member).place

    def address(self, member: str) -> str:
        """Return a member's address."""
        return self.host(member).address

    @contextmanager
    def inside(self, member: str) -> Iterator[None]:
        """Have the calling thread, and the threads it starts, speak from *member*'s host."""
        with self.host(member).namespace.inside():
            yield

    def cut(self, one: str, *others: str) -> None:
        """Lose everything between *one* and each of *others*, or all others if none is named."""
        rest = others or self._others([one])
        self.cuts |= set(product([one], rest)) | set(product(rest, [one]))
        self._apply()

    def cut_one_way(self, sender: str, *receivers: str) -> None:
        """Lose what *sender* sends to each of *receivers*, or to anybody if none is named."""
        self.cuts |= set(product([sender], receivers or self._others([sender])))
        self._apply()

    def deafen(self, receiver: str, *senders: str) -> None:
        """Lose what each of *senders*, or anybody if none is named, sends to *receiver*."""
        self.cuts |= set(product(senders or self._others([receiver]), [receiver]))
        self._apply()

    def split(self, *side: str) -> None:
        """Lose everything between the members of *side* and all others."""
        rest = self._others(side)
        self.cuts |= set(product(side, rest)) | set(product(rest, side))
        self._apply()

    def lose(self, share: float, *members: str) -> None:
        """Lose that *share* (0 to 1) of all packets, or of those to and from *members*."""
        for way in product(self.hosts, self.hosts):
            if way[0] != way[1] and (not members or set(way) & set(members)):
                self.losses[way] = share
        self._apply()

    def heal(self) -> None:
        """Undo every cut and loss, and have every door pass all at once again."""
        self.cuts.clear()
        self.losses.clear()
        self._apply()
        for door in self.doors.values():
            door.open()

    def door(self, member: str, port: int) -> Door:
        """Return the door before *member*'s *port*; from its first use on it stands there."""
        if (member, port) not in self.doors:
            host = self.host(member)
            at = _DOOR_PORT + sum(1 for name, _ in self.doors if name == member)
            self.doors[member, port] = open_door(
                prefix=host.namespace.prefix, port=at, behind=(host.address, port)
            )
            host.namespace.run("nft", "-f", "-", given=_redirection(port, at))
        return self.doors[member, port]

    def close_doors(self) -> None:
        """Take all doors away; connections through them end."""
        for (member, port), door in self.doors.items():
            self.hosts[member].namespace.run("nft", "delete", "table", "ip", f"door{port}")
            door.close()
        self.doors.clear()

    def close(self) -> None:
        """Let go of everything. Hosts in which something still runs last as long as that."""
        self.close_doors()
        for host in self.hosts.values():
            host.namespace.close()
        self.switch.close()

    def _others(self, members: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in self.hosts if name not in set(members))

    def _apply(self) -> None:
        self.switch.run("nft", "-f", "-", given=self._weather())

    def _weather(self) -> str:
        """Return the switch's whole packet filter."""
        rules = [f"ip saddr . ip daddr {self._elements(self.cuts)} drop"] if self.cuts else []
        for share in sorted(set(self.losses.values())):
            ways = {way for way, lost in self.losses.items() if lost == share}
            per_mille = round(1000 * share)
            rules.append(
                f"ip saddr . ip daddr {self._elements(ways)}"
                f" numgen random mod 1000 < {per_mille} drop"
            )
        hook = "type filter hook forward priority 0; policy accept;"
        chain = "\n".join([hook, *rules])
        # Naming the table before it is deleted makes the deletion one that cannot fail.
        return (
            "table bridge weather\ndelete table bridge weather\n"
            f"table bridge weather {{\nchain forward {{\n{chain}\n}}\n}}\n"
        )

    def _elements(self, ways: Iterable[Way]) -> str:
        pairs = (f"{self.address(a)} . {self.address(b)}" for a, b in sorted(ways))
        return f"{{ {', '.join(pairs)} }}"


def _redirection(port: int, door: int) -> str:
    """Return the rules that lead whoever comes from outside to *port* to the door's.

    Only the first packet of a connection is led there. Where the kernel tracks connections
    already, for another door, those that stand would pass by: they are reset.
    """
    outside = f'iifname "eth0" ip saddr != {_SWITCH_ADDRESS} tcp dport {port}'
    return f"""
table ip door{port} {{
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    {outside} redirect to :{door}
  }}
  chain input {{
    type filter hook input priority 0; policy accept;
    {outside} reject with tcp reset
  }}
}}
"""


@contextmanager
def open_network(members: Sequence[str]) -> Iterator[Network]:
    """Give each of *members* a host of its own while the context lasts.

    The calling thread lives at the switch meanwhile, and reaches all of them always.

    Raises:
        NetworkFaultError: The machine cannot; see `netns.lacking`.
    """
    network = Network(new_namespace())
    try:
        network.switch.run("ip", "-batch", "-", given=_SWITCH)
        for name in members:
            network.host(name)
        with network.switch.inside():
            yield network
    finally:
        network.close()


_SWITCH: Final = f"""
link add switch type bridge
addr add {_SWITCH_ADDRESS}/24 dev switch
link set switch up
"""


def _port(number: int, namespace: Namespace) -> str:
    return f"""
link add port{number} type veth peer name eth0 netns {namespace.path}
link set port{number} master switch up
"""


def _interface(address: str) -> str:
    return f"""
addr add {address}/24 dev eth0
link set eth0 up
"""
