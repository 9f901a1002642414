"""Records as they travel, for tests of the fault matrix's checks."""

from collections.abc import Sequence

from workrs.faults.story import Story


def record(
    node: str,
    step: int,
    *,
    epoch: int = 0,
    holder: str = "",
    checkpoints: Sequence[tuple[int, int]] = (),
    accepted: tuple[int, str] | None = None,
    decided: str = "",
    digest: str = "spec",
) -> dict[str, object]:
    body: dict[str, object] = {"node": node, "version": [1, step], "epoch": epoch, "digest": digest}
    if holder:
        body["holder"] = {"client": holder, "incarnation": [1, holder]}
    if checkpoints:
        body["checkpoints"] = [{"epoch": e, "seq": s} for e, s in checkpoints]
    if accepted:
        body["accepted"] = {"epoch": accepted[0], "digest": accepted[1]}
    if decided:
        body["decided_digest"] = decided
    return body


def story(*shown: dict[str, object]) -> Story:
    found = Story("d_j")
    for at_s, body in enumerate(shown):
        found.add_record(str(body["node"]), float(at_s), body)
    return found
