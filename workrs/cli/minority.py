"""Saying that a node hears no majority, so that what it shows may be old."""

import sys

from workrs.wire.view import ClusterView


def warn_of_minorities(view: ClusterView) -> None:
    """Print a line on standard error for every node that says so of itself."""
    for found in view.nodes():
        state = found.state
        if state is not None and state.live and not state.quorum:
            print(
                f"workrs: node {found.node} reaches {state.nodes_heard} of {len(state.nodes)} "
                "nodes: nothing is accepted or decided there, and what it shows may be old",
                file=sys.stderr,
            )
