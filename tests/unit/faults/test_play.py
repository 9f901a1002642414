"""Goal: a site that does not start is a failure. Method: `open_site` is replaced."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workrs.domain.errors import ConfigError
from workrs.faults import play
from workrs.faults.plan import SitePlan
from workrs.faults.play import SITE, Player, Turn
from workrs.faults.rows import all_rows
from workrs.faults.site import Site


def test_a_site_lies_at_a_whole_path_and_its_failure_to_start_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its jobs write their testimony from folders of their own."""
    roots = []

    @contextmanager
    def open_nothing(plan: SitePlan, root: Path, **rest: object) -> Iterator[Site]:
        assert plan
        assert rest
        roots.append(root)
        raise ConfigError("no room")
        yield

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(play, "open_site", open_nothing)
    turn = Turn(row=all_rows()[0], times=2)
    [played] = Player(root=Path("sites"), seed=1).play([turn])
    assert roots == [tmp_path / "sites" / "site-1"]
    assert played.row == SITE
    assert played.faults == ("the site did not start: no room",)
