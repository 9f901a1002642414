"""Whether a cluster is whole: what every row begins and ends with."""

from workrs.cli.cluster import LocalCluster
from workrs.domain.lease import LeaseTiming
from workrs.faults.trace import Recorder
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState

_STATE_PERIOD_S = 1.0


def ailments(cluster: LocalCluster, trace: Recorder, timing: LeaseTiming) -> str:
    """Return what is not whole, or an empty string.

    Whole is: every member runs, every broker shows every node's state as live, ready and new,
    and every node has answered a heartbeat of every agent lately.
    """
    for name, member in cluster.members.items():
        if not member.is_running():
            return f"{name} does not run"
    fresh_s = trace.now_s - 2.5 * _STATE_PERIOD_S
    heard_s = trace.now_s - max(2.5 * timing.heartbeat_period_s, 2.0)
    agents = [name for name in cluster.members if name not in cluster.addresses]
    for broker in cluster.addresses:
        if broker not in trace.linked:
            return f"the broker of {broker} is away"
        for node in cluster.addresses:
            heard = trace.heard(broker, topics.node(node, "state"))
            state = codec.decode(NodeState, heard.payload) if heard and heard.payload else None
            if heard is None or state is None or heard.at_s < fresh_s:
                return f"the broker of {broker} has no new state of {node}"
            if not (state.live and state.ready):
                return f"{broker} shows {node} as {state.health}, live {state.live}"
        for agent in agents:
            heard = trace.heard(broker, topics.node(broker, "agent", agent))
            view = codec.decode(AgentView, heard.payload) if heard and heard.payload else None
            if heard is None or view is None or view.gone or heard.at_s < heard_s:
                return f"{broker} has not heard {agent} lately"
    return ""
