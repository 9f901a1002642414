"""Goal: what is on its way to a majority is as much as gets there soon, on fast and on slow peers.

Method: the rule alone, and a model of peers that store so many jobs a second.
"""

from broker.spread import SOON_S, WINDOW_FIRST, WINDOW_MAX, WINDOW_MIN, Spread
from workrs.domain.ids import Instant


def arrived(spread: Spread, waited_s: float, now: float) -> None:
    spread.arrived(Instant(now - waited_s), Instant(now))


def test_soon_makes_room_and_late_takes_it_within_bounds() -> None:
    spread = Spread()
    arrived(spread, SOON_S, 1.0)
    assert spread.window > WINDOW_FIRST
    for turn in range(20_000):
        arrived(spread, 0.0, 2.0 + turn)
    assert spread.window == WINDOW_MAX
    before = spread.window
    arrived(spread, SOON_S * 1.01, 30_000.0)
    assert spread.window < before
    for turn in range(100):
        arrived(spread, 9.0, 40_000.0 + turn)
    assert spread.window == WINDOW_MIN
    assert spread.room(int(WINDOW_MIN)) == 0
    assert spread.room(1_000) == 0


def test_jobs_that_travelled_together_count_once() -> None:
    spread = Spread()
    for _ in range(50):
        arrived(spread, 9.0, 1.0)
    once = spread.window
    arrived(spread, 9.0, 1.0 + SOON_S)
    assert once > spread.window > WINDOW_MIN


def test_it_settles_where_jobs_take_about_as_long_as_they_should() -> None:
    for rate_per_s in (40, 150, 600):
        spread, now, waits = Spread(), 0.0, []
        for _ in range(400):
            batch = max(1, int(spread.window))
            now += batch / rate_per_s
            waits.append(batch / rate_per_s)
            for _ in range(batch):
                arrived(spread, batch / rate_per_s, now)
        assert max(waits[100:]) <= 2 * SOON_S
        assert sum(waits[100:]) / 300 >= SOON_S / 4
