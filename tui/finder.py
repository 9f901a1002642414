"""Search in the command palette: nodes, agents and jobs by name."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from textual.command import Hit, Hits, Provider

if TYPE_CHECKING:
    from tui.app import Dashboard

HITS_MAX: Final = 20


class Finder(Provider):
    """Finds what has the words in its name. Not fuzzy: 10,000 names are looked through per key."""

    async def search(self, query: str) -> Hits:
        """Yield what can be opened (called by Textual)."""
        words = query.lower().split()
        matcher = self.matcher(query)
        for place, (name, what, call) in enumerate(self._named(words)):
            if place >= HITS_MAX:
                return
            yield Hit(0.5, matcher.highlight(name), call, help=what)

    def _named(self, words: list[str]) -> Iterator[tuple[str, str, partial[None]]]:
        app = cast("Dashboard", self.app)
        model = app.feed.model
        for node in model.nodes.values():
            if all(word in node.name for word in words):
                what = f"node, {node.health(app.now())}"
                yield node.name, what, partial(app.open_node, node.name)
        for agent in model.agents.values():
            if all(word in agent.name for word in words):
                yield agent.name, f"agent, {agent.state}", partial(app.open_agent, agent.name)
        for job in model.jobs.values():
            if all(word in job.name for word in words):
                yield job.name, f"job, {job.state}", partial(app.open_job, job.view.job)
