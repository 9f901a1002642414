"""Goal: the queue hands out the first job that some free agent may take, and is never blocked.

Method: any sequence of steps against a plain sorted list; then the cost of many needs.
"""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from broker.job_queue import Item, JobQueue
from workrs.domain.dispatch import AgentProfile, Need
from workrs.domain.ids import JobId


def need(memory_mb: int, arch: str | None = None) -> Need:
    return Need(arch, frozenset(), memory_mb, memory_rung=False)


def item(number: int, priority: int = 4) -> Item:
    return (-priority, number, JobId(f"pump_{number}"))


def profile(memory_mb: int) -> AgentProfile:
    return AgentProfile(slots=1, arch="amd64", memory_mb=memory_mb, cpus=1.0)


STEP = (
    st.tuples(st.just("push"), st.integers(1, 4), st.integers(0, 9))
    | st.tuples(st.just("offer"), st.integers(0, 5), st.just(0))
    | st.tuples(st.just("revive"), st.integers(0, 5), st.just(0))
)


@given(st.lists(STEP, max_size=40))
def test_it_is_a_sorted_list_of_the_needs_that_are_not_given_up(
    steps: list[tuple[str, int, int]],
) -> None:
    queue = JobQueue()
    waiting: list[tuple[Item, Need]] = []
    hopeless: set[Need] = set()
    for number, (step, size, priority) in enumerate(steps):
        match step:
            case "push":
                waiting.append((item(number, priority), need(size, "x" if priority % 2 else None)))
                queue.push(waiting[-1][1], waiting[-1][0])
            case "offer":
                found = queue.pop()
                first = min((w for w in waiting if w[1] not in hopeless), default=None)
                assert found == (None if first is None else (first[1], first[0]))
                if first is not None and first[1].memory_mb <= size:
                    waiting.remove(first)
                elif first is not None:
                    queue.give_up(first[1], first[0])
                    hopeless.add(first[1])
            case _:
                queue.revive(profile(size))
                hopeless = {n for n in hopeless if n.memory_mb > size or n.arch == "x"}
        assert len(queue) == len(waiting)


def test_jobs_of_one_need_that_nobody_meets_hold_up_no_others() -> None:
    queue = JobQueue()
    for number in range(1000):
        queue.push(need(4096), item(number, priority=9))
    queue.push(need(1), item(2000, priority=0))
    found = queue.pop()
    assert found is not None
    queue.give_up(*found)
    assert queue.pop() == (need(1), item(2000, priority=0))
    assert queue.pop() is None
    queue.revive(profile(4096))
    assert queue.pop() == (need(4096), item(0, priority=9))


def test_ten_thousand_different_needs_are_given_up_in_a_moment() -> None:
    queue = JobQueue()
    for number in range(10_000):
        queue.push(need(number + 10), item(number))
    began = time.thread_time()
    while (found := queue.pop()) is not None:
        queue.give_up(*found)
    assert time.thread_time() - began < 2.0
    assert len(queue) == 10_000
