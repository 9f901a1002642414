"""The warden: freezes jobs at their lease's deadline, and kills them when the agent is gone.

Run as a program of its own, `python -S -E -I warden_process.py`, so it imports next to nothing
and shares nothing with the agent but a pipe on standard input. Lines, fields split by tabs:

    watch KEY DEADLINE TARGET…    guard the targets; DEADLINE is CLOCK_BOOTTIME in seconds
    extend KEY DEADLINE           move the deadline; what is frozen stays frozen
    stand_back KEY                CRIU works on it: do not freeze, for 60 s at most
    step_in KEY                   guard it again
    unwatch KEY                   all of its processes are gone
    answer                        say `here`

A TARGET is `cgroup:/path` or `group:PGID`. On standard output it says `ready`, `frozen KEY`
once per deadline, and when the pipe was closed `killed KEY` for each key and `left KEY` for
one that did not die. What nobody reads any more is dropped.

1. From its deadline on a job is frozen at every turn, not once: an agent that was stopped
   between checking the deadline and thawing cannot set it free for longer than a turn.
2. A closed pipe means that the agent died, however: everything watched is killed within a
   second. Frozen processes of cgroup version 1 die only once thawed, so they are.
3. It ends only after that, and after removing the empty cgroups. The next incarnation of the
   agent waits for its end.
"""

# contextlib and pathlib cost more memory than the rest of it, so there is neither.
# ruff: noqa: SIM105, PTH106, PTH110, PTH120, PTH123, PTH208

import os
import select
import signal
import time

TURN_S = 0.2
"""Longest time between two looks at the clock. poll(2) does not count a suspended host."""
STAND_BACK_S = 60.0
KILL_S = 10.0
KILL_TURN_S = 0.01
REMOVE_S = 1.0
NICE = -20
OURS = "/workrs/"
"""Below this are the cgroups that agents make."""


class Watched:
    """What is guarded under one key."""

    __slots__ = ("back_until", "deadline", "frozen", "targets")

    def __init__(self, targets: list[str], deadline: float) -> None:
        self.targets = targets
        self.deadline = deadline
        self.frozen = False
        self.back_until = 0.0


def now() -> float:
    """Return seconds that also pass while the host is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write(path: str, text: bytes) -> bool:
    """Write to an existing file and return whether that worked."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(descriptor, text)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def freeze(target: str) -> None:
    """Stop what the target names, without waiting for it."""
    kind, _, name = target.partition(":")
    if kind == "group":
        signal_group(int(name), signal.SIGSTOP)
    elif not write(name + "/cgroup.freeze", b"1"):
        write(name + "/freezer.state", b"FROZEN")


def kill(target: str) -> bool:
    """Send SIGKILL to what the target names; return whether nothing is left."""
    kind, _, name = target.partition(":")
    if kind == "group":
        return not signal_group(int(name), signal.SIGKILL) or not lives(int(name))
    if not write(name + "/cgroup.kill", b"1"):
        for pid in members(name):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
    if not write(name + "/cgroup.freeze", b"0"):
        write(name + "/freezer.state", b"THAWED")
    return not members(name)


def signal_group(pgid: int, number: int) -> bool:
    """Signal a process group; return whether it has a member."""
    try:
        os.killpg(pgid, number)
    except OSError:
        return False
    return True


def lives(pgid: int) -> bool:
    """Return whether a process group has a member that is no zombie.

    Zombies wait for whoever inherited them, which may take its time and is none of ours.
    """
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/" + name + "/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == pgid and fields[0] not in "ZX":
                return True
    return False


def members(cgroup: str) -> list[int]:
    """Return the ids of the processes in a cgroup and below it."""
    found: list[int] = []
    for folder, _, _ in os.walk(cgroup):
        try:
            with open(folder + "/cgroup.procs") as procs:
                # 0 stands for a process of another pid namespace, and for our own group.
                found += [int(pid) for pid in procs.read().split() if pid != "0"]
        except OSError:
            pass
    return found


def say(*words: str) -> None:
    """Tell the agent, if it still listens and has room."""
    try:
        os.write(1, "\t".join(words).encode() + b"\n")
    except OSError:
        pass


def obey(watched: dict[str, Watched], line: str) -> None:
    """Do what one line says; a line that is none of ours is not followed."""
    verb, *rest = line.split("\t")
    if verb == "watch" and len(rest) >= 2:
        watched[rest[0]] = Watched(rest[2:], float(rest[1]))
    elif verb == "extend" and len(rest) == 2 and rest[0] in watched:
        watched[rest[0]].deadline = float(rest[1])
        watched[rest[0]].frozen = False
    elif verb == "stand_back" and len(rest) == 1 and rest[0] in watched:
        watched[rest[0]].back_until = now() + STAND_BACK_S
    elif verb == "step_in" and len(rest) == 1 and rest[0] in watched:
        watched[rest[0]].back_until = 0.0
    elif verb == "unwatch" and len(rest) == 1:
        watched.pop(rest[0], None)
    elif verb == "answer":
        say("here")


def look(watched: dict[str, Watched]) -> float:
    """Freeze what is due; return the seconds until the next look."""
    instant = now()
    turn = TURN_S
    for key, job in watched.items():
        left = max(job.deadline, job.back_until) - instant
        if left > 0:
            turn = min(turn, left)
            continue
        for target in job.targets:
            freeze(target)
        if not job.frozen:
            job.frozen = True
            say("frozen", key)
    return turn


def guard(watched: dict[str, Watched]) -> None:
    """Follow the agent until its end of the pipe is closed."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    rest = b""
    while True:
        # Rounded up: a millisecond early would mean a thousand empty turns.
        if not poll.poll(int(look(watched) * 1000) + 1):
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            obey(watched, line.decode())


def kill_all(watched: dict[str, Watched]) -> None:
    """Kill everything, in turns so that one that is stuck does not spare the others."""
    left = dict(watched)
    end = now() + KILL_S
    while left and now() < end:
        for key, job in list(left.items()):
            # A list, so that one target which is still alive does not spare the next.
            if all([kill(target) for target in job.targets]):  # noqa: C419
                say("killed", key)
                del left[key]
        if left:
            time.sleep(KILL_TURN_S)  # noqa: TID251 (a process of its own, without a loop)
    for key in left:
        say("left", key)
    targets = [target for job in watched.values() for target in job.targets]
    end = now() + REMOVE_S
    # A dead process stays in its cgroup until whoever inherited it has noticed.
    while any([not remove(target) for target in targets]) and now() < end:  # noqa: C419
        time.sleep(KILL_TURN_S)  # noqa: TID251


def remove(target: str) -> bool:
    """Remove the empty cgroup and the agent's one above it, in every hierarchy of version 1.

    An agent that died and does not come back would leave them for ever. Those of a container are
    made again should its engine need them.
    """
    kind, _, name = target.partition(":")
    root, found, inside = name.partition(OURS)
    if kind != "cgroup" or not found:
        return True
    beside = os.path.dirname(root)
    roots = [root, *(beside + "/" + other for other in os.listdir(beside))]
    for folder in roots:
        path = folder + OURS + inside
        while len(path) > len(folder + OURS):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                pass
            except OSError:
                break
            path = os.path.dirname(path)
    return not os.path.exists(name)


def hurry() -> None:
    """Go before everything else that wants a core, where that is allowed.

    It needs one for a moment now and then. With a load of 38 on two cores it got that 1 to 3 s
    too late, and programs ran on for as long.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except OSError:
        pass  # no root: then it takes its turn like all others


def main() -> None:
    """Guard, then kill."""
    hurry()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        # A Ctrl-C or a service manager's stop reaches all of a group: the agent ends first.
        signal.signal(number, signal.SIG_IGN)
    os.set_blocking(1, False)
    watched: dict[str, Watched] = {}
    say("ready")
    try:
        guard(watched)
    finally:
        kill_all(watched)


if __name__ == "__main__":
    main()
