"""Goal: what `--metrics` answers is what Prometheus reads, and nothing else is answered.

Method: the text by itself; a listener on a free port, asked by HTTP; promtool as the judge.
"""

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.mosquitto_fixture import free_port
from workrs.adapters import log, metric
from workrs.adapters.metric_server import metrics_served
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

RULES = Path(__file__).parents[3] / "deploy" / "prometheus"


def test_the_text_has_help_type_and_escaped_labels() -> None:
    odd = metric.info("workrs_info", "What runs.", name='a"b\\c\nd')
    assert metric.render([odd, metric.counter("workrs_n_total", "So many.", 2**53)]) == (
        "# HELP workrs_info What runs.\n# TYPE workrs_info gauge\n"
        'workrs_info{name="a\\"b\\\\c\\nd"} 1\n'
        "# HELP workrs_n_total So many.\n# TYPE workrs_n_total counter\n"
        "workrs_n_total 9007199254740992\n"
    )


def test_events_are_counted_by_key_alone() -> None:
    before = log.counts().get("metric_tested", 0)
    for job in ("a", "b"):
        log.get("test").debug("metric_tested", pump=job)
    assert log.counts()["metric_tested"] == before + 2
    text = metric.render(metric.of_process())
    assert f'workrs_events_total{{event="metric_tested"}} {before + 2}\n' in text
    assert "pump" not in text


async def ask(at: Address, paths: Sequence[str], health: str, ready: str) -> list[tuple[int, str]]:
    serving = metrics_served(
        at,
        metrics=lambda: [metric.gauge("workrs_one", "One.", 1)],
        health=lambda: health,
        ready=lambda: ready,
    )
    async with serving, aiohttp.ClientSession() as session:
        answers = []
        for path in paths:
            async with session.get(f"http://{at}{path}") as answer:
                answers.append((answer.status, await answer.text()))
        return answers


def test_health_and_readiness_are_told_apart() -> None:
    at = Address(host="127.0.0.1", port=free_port())
    found = asyncio.run(ask(at, ["/health", "/ready", "/metrics", "/"], "ok", "it leaves"))
    assert found[:2] == [(200, "ok\n"), (503, "it leaves\n")]
    assert found[2][0] == 200
    assert "workrs_one 1\n" in found[2][1]
    assert found[3][0] == 404


def test_an_address_that_cannot_be_had_is_the_operators_to_change() -> None:
    with pytest.raises(ConfigError, match="cannot serve metrics"):
        asyncio.run(ask(Address(host="192.0.2.1", port=9), [], "ok", "ok"))


@pytest.mark.parametrize(
    "words", [["check", "rules", "workrs.rules.yml"], ["test", "rules", "workrs.test.yml"]]
)
def test_the_alert_rules_do_what_their_tests_say(words: list[str]) -> None:
    ran = subprocess.run(
        ["promtool", *words], check=False, cwd=RULES, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_what_a_program_says_of_itself_passes_promtool() -> None:
    text = metric.render(metric.of_process())
    ran = subprocess.run(
        ["promtool", "check", "metrics"],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
