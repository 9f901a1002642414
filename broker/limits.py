"""How much a node keeps of anything that grows with names or with time.

The numbers stand here and nowhere else; what happens at each is said beside it, and in
docs/architecture.md, "Limits". None of them is reached in normal use: they are what a flood,
a broken client or a year of service meets instead of the end of the memory.
"""

from typing import Final

OPEN_MAX: Final = 100_000
"""Open jobs. A submit beyond is rejected with `retry_after_s`. Peers' jobs are always taken:
each node refuses by the same number, so all together pass it by what is on its way."""
OPEN_MAX_BYTES: Final = 384 << 20
"""What the specs of open jobs take at a broker. Beyond: as above."""
DEVICE_SHARE: Final = 0.25
"""Of what is free of both, how much one device may have open, beside its quota: some is left for
others, however many take all they may. Beyond: as above."""
TENANT_SHARE: Final = 1.0
"""The same for all devices of a tenant: two share evenly, and leave a third of it."""
RETRY_AFTER_S: Final = 30.0
"""What a device is told to wait when a node has no room."""
INTAKE_MAX: Final = 10_000
"""Requests of devices that wait for their turn; one device may have as many as are free. Beyond,
they are refused; what one batch of the connection brings too many waits with it, unread."""
WAITING_MIN: Final = 5
"""What one device may have waiting however full it is, so that nobody who sends now and then is
refused for others. Beyond, it is refused."""
INTAKE_MAX_BYTES: Final = 64 << 20
"""What their payloads take. Beyond: as above."""
REFUSALS_MAX: Final = 1_000
"""Requests refused by the gate that are answered at once: first ones of a device, and as many
further ones. Beyond, they go unanswered, and devices repeat them."""
REFUSALS_PER_S: Final = 200
"""How many of each are answered in the long run."""
KICKS_AT_ONCE: Final = 200
"""Barred devices that are disconnected at the same time. The others' turn is after that."""
HEAP_HIGH_BYTES: Final = 704 << 20
"""The broker's heap above which sessions of devices are ended that leave much unread. What the
broker's own limit leaves beyond is for what is said until then."""
UNREAD_MIN_BYTES: Final = 1 << 20
"""What a device was told at least since its session ended last, if it is ended for that."""
READ_AT_ONCE: Final = 2_000
"""Requests of devices that are judged before the node does something else for a moment."""
METERS_MAX: Final = 100_000
"""Devices whose rate is remembered, and tenants. Beyond, the one silent longest begins anew."""
TURN_MAX: Final = 100
"""Requests of devices handled in one batch, so that heartbeats and votes wait for no more."""
STALLED_S: Final = 0.1
"""After so long without a request taken, though some wait, a few are: such jobs may stay."""
STALLED_TURN: Final = 10
"""How many."""
DECIDED_MAX: Final = 200_000
"""Decided jobs on the bus. Beyond, the oldest are retired before their retention has passed."""
DECIDED_MAX_BYTES: Final = 512 << 20
"""What specs, records and results of decided jobs take at a broker. Beyond: as above."""
EARLY_PER_BEAT: Final = 1_000
"""Jobs retired early in one beat, so that a flood of them holds up no vote."""
AGENTS_MAX: Final = 10_000
"""Agents in the table. A new one takes the place of the one gone longest, or is not heard."""
AGENT_FORGET_S: Final = 86_400.0
"""After how long an agent that is gone and holds nothing is forgotten, and its view emptied."""
VIEW_EXPIRY_S: Final = 2 * 86_400
"""After how long without a heartbeat a view of an agent leaves every broker by itself."""
DEVICES_MAX: Final = 100_000
"""Devices that are told what their jobs pass through. Beyond, the one silent longest hears
only how its jobs end, until it speaks again."""
ORDERS_MAX: Final = 16
"""Orders to drain or undrain that are remembered of an agent. Beyond, the first is forgotten: said
again, it counts as a new one."""
EPOCHS_AHEAD_MAX: Final = 1_000
"""How far above all records this node knows an agent may claim. Agents claim at the next epoch;
beyond, they would use up what there are, and nobody could bid after them. Refused and counted."""
AVOIDED_MAX: Final = 100
"""Agents that let an offer of a job lapse. Beyond, the first of them gets another chance."""
LINES_PER_BEAT: Final = 20
"""Lines of one event in the log that clients can cause. The rest of the beat is counted."""
QUEUE_SLACK: Final = 1_000
"""Jobs in the queue that are not open any more. Beyond, and half of it, they are taken out."""
TIDY_BEATS: Final = 60
"""Beats between two looks for agents to forget and for such jobs."""
SWEEPS_PER_BEAT: Final = 100
"""Retired jobs whose topics are emptied once more in one beat."""
ASKS_PER_BEAT: Final = 100
"""Jobs without a known majority whose votes are looked at in one beat, to be shown again."""
REPEATS_PER_BEAT: Final = 100
"""Overdue decisions said again in one beat, for a peer that is not known to know them."""
NOTICES_PER_BEAT: Final = 100
"""Devices told in one beat that their node hears no majority, or hears one again; and senders
told that a node which does not vote yet keeps their requests."""
FUNCTIONS_MAX: Final = 1_000
"""Functions. A new one beyond is refused; peers' are always taken."""
FUNCTION_NAMES_MAX: Final = 10_000
"""Their names, removed ones too: who missed the removal would bring one back. As above."""
FUNCTIONS_MAX_BYTES: Final = 32 << 20
"""Their definitions. A new or changed one beyond is refused, as above."""
ORDERS_WAITING_MAX: Final = 100
"""Orders about functions that wait for a majority. Beyond, the first is answered when it comes
again."""
HISTORY_TEXT_MAX: Final = 200
"""Characters of a text in a line of history."""
BLOB_DROPS_MAX: Final = 100_000
"""Retired jobs whose blobs wait to be removed. Beyond, the hourly round finds them."""
