"""Goal: a session is its owner's alone, and ends.

Method: the table with tokens of the test's making, at instants on both sides of each limit.
"""

from __future__ import annotations

from itertools import count

import pytest

from broker.web import attempt, session
from broker.web.attempt import Attempts
from broker.web.page_error import PageError
from broker.web.session import FormTokens, Sessions
from workrs.domain.ids import ClientId, Instant

ANN = ClientId("ann")
START = Instant(1000.0)


def at(seconds: float) -> Instant:
    return Instant(START + seconds)


@pytest.fixture
def table() -> Sessions:
    numbers = count()
    return Sessions(lambda: f"token-{next(numbers)}")


def test_a_token_finds_its_session_and_another_finds_none(table: Sessions) -> None:
    token = table.open(ANN, START)
    found = table.use(token, at(1))
    assert found is not None
    assert found.name == ANN
    for other in ("", "token-9", token + "x", token.upper(), "\ud800", "x" * 10_000):
        assert table.use(other, at(1)) is None


def test_a_session_ends_when_it_is_not_used(table: Sessions) -> None:
    token = table.open(ANN, START)
    assert table.use(token, at(session.IDLE_S - 1)) is not None
    assert table.use(token, at(2 * session.IDLE_S - 2)) is not None
    assert table.use(token, at(3 * session.IDLE_S - 2)) is None
    assert len(table) == 0


def test_a_session_ends_although_it_is_used(table: Sessions) -> None:
    token, seconds = table.open(ANN, START), 0.0
    while table.use(token, at(seconds)) is not None:
        seconds += session.IDLE_S / 2
    assert seconds == session.LONGEST_S


def test_signing_out_ends_it(table: Sessions) -> None:
    token = table.open(ANN, START)
    table.close(token)
    assert table.use(token, START) is None
    table.close(token)
    tokens = [table.open(ANN, START) for _ in range(3)]
    table.close_all(ANN)
    assert [table.use(each, START) for each in tokens] == [None] * 3


def test_one_name_has_a_few_sessions_and_its_oldest_goes(table: Sessions) -> None:
    tokens = [table.open(ANN, START) for _ in range(session.SESSIONS_OF_ONE_MAX + 1)]
    assert table.use(tokens[0], START) is None
    assert all(table.use(each, START) for each in tokens[1:])


def test_there_are_so_many_sessions_and_no_more(table: Sessions) -> None:
    for number in range(session.SESSIONS_MAX):
        table.open(ClientId(f"d{number}"), START)
    with pytest.raises(PageError) as refused:
        table.open(ANN, START)
    assert refused.value.status == 503
    assert table.open(ANN, at(session.IDLE_S))  # those who are gone make room
    assert table.end_old(at(session.IDLE_S)) == {ANN}


def test_tokens_of_real_tables_are_long_and_differ() -> None:
    table = Sessions()
    tokens = {table.open(ClientId(f"d{number}"), START) for number in range(50)}
    assert len(tokens) == 50
    assert min(map(len, tokens)) >= 43


def test_a_form_belongs_to_one_cookie_of_one_server() -> None:
    tokens = FormTokens(key=b"k" * 32)
    tokens.check("cookie", tokens.make("cookie"))
    for cookie, shown in (
        ("other", tokens.make("cookie")),
        ("", tokens.make("")),
        ("cookie", ""),
        ("cookie", "\ud800é"),
        ("cookie", FormTokens(key=b"l" * 32).make("cookie")),
    ):
        with pytest.raises(PageError):
            tokens.check(cookie, shown)


def test_tries_are_limited_by_name_by_address_and_in_all() -> None:
    tries = Attempts()
    burst = attempt.OF_NAME.burst
    assert [tries.wait_s("a", "ann", START) for _ in range(burst)] == [0.0] * burst
    assert tries.wait_s("a", "ann", START) > 0
    assert tries.wait_s("b", "ann", START) == 0.0, "an attacker elsewhere would shut ann out"
    left = attempt.OF_NETWORK.burst - burst
    assert all(tries.wait_s("a", f"d{number}", START) == 0.0 for number in range(left))
    assert tries.wait_s("a", "one-more", START) > 0
    found = [tries.wait_s(f"address-{number}", "x", START) for number in range(100)]
    assert found.count(0.0) < attempt.OF_ALL.burst
    assert tries.wait_s("b", "ann", at(600)) == 0.0


def test_who_is_right_may_come_again() -> None:
    tries = Attempts()
    for number in range(100):
        assert tries.wait_s("a", "ann", at(number)) == 0.0
        tries.was_right("a", "ann")
    assert [tries.wait_s("a", "ann", at(100)) for _ in range(6)].count(0.0) == 5
