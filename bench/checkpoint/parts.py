"""The measurements, each with its table and what it says about the bounds."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from functools import partial
from typing import TYPE_CHECKING

from bench.checkpoint import archives, ours, report, rivals, storing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.checkpoint.stage import Stage
    from workrs.ports.runtime import Snapshot


def speed(stage: Stage) -> None:
    """Freeze and restore beside raw runc, Docker's own checkpoints and Podman, in turns."""
    with contextlib.ExitStack() as stack:
        measures = _contestants(stage, stack)
        found = {}
        bounds = []
        for mib in stage.sizes_mib:
            rounds = []
            for number in report.rounds(f"speed, {mib} MiB", stage.rounds):
                # Each goes first in turn: what one leaves in caches is met by all.
                turn = number % len(measures)
                one: dict[str, float] = {}
                for measure in (*measures[turn:], *measures[:turn]):
                    one |= measure(mib)
                rounds.append(one)
            figures = report.collect(rounds)
            report.show(f"Speed, {mib} MiB, {stage.rounds} rounds", figures)
            found[f"{mib} MiB"] = report.values(figures)
            bounds += report.speed_bounds(figures, mib=mib)
    stage.keep("speed", found, bounds)


def _contestants(
    stage: Stage, stack: contextlib.ExitStack
) -> list[Callable[[int], dict[str, float]]]:
    """Return what takes a size in MiB and measures one round."""
    docker = rivals.Docker(stage.folder / "by-docker", stage.engines[0], stage.image)
    others: list[rivals.Rival] = [rivals.Runc(stage.folder / "by-runc", stage.archive), docker]
    if stage.programs is not None:
        podman = rivals.Podman(stage.folder / "by-podman", stage.programs, stage.archive)
        stack.callback(podman.close)
        others.append(podman)
    runner = stack.enter_context(asyncio.Runner())
    workrs = runner.run(ours.Workrs.open(stage.folder / "by-workrs", stage.engines))
    stack.callback(lambda: runner.run(workrs.close()))

    def own(mib: int) -> dict[str, float]:
        # Beside the restore, because the bound compares these two.
        empty = {"docker: run of an empty one": docker.run_empty()}
        return empty | runner.run(
            ours.measure(workrs, image=stage.image, mib=mib, folder=stage.folder)
        )

    return [*(partial(rivals.measure, rival) for rival in others), own]


def costs(stage: Stage) -> None:
    """Store and fetch with two nodes' stores: memory, processor, and the time of each step."""
    found = {}
    bounds = []
    for mib in stage.sizes_mib:
        rounds = []
        for number in report.rounds(f"costs, {mib} MiB", stage.rounds):
            folder = stage.folder / f"agent-{mib}-{number}"
            rounds.append(
                storing.costs(
                    mib=mib,
                    image=stage.image,
                    engines=stage.engines,
                    urls=stage.urls,
                    folder=folder,
                )
            )
            shutil.rmtree(folder)
        figures = report.collect(rounds)
        report.show(f"Costs, {mib} MiB, {stage.rounds} rounds", figures)
        found[f"{mib} MiB"] = report.values(figures)
        bounds += report.cost_bounds(figures, mib=mib)
    stage.keep("costs", found, bounds)


def size(stage: Stage) -> None:
    """Change parts of a job: what is sent; then restic and borg on the same snapshots."""
    mib = max(stage.sizes_mib)

    async def change() -> tuple[dict[str, dict[str, float]], list[Snapshot]]:
        workrs = await ours.Workrs.open(stage.folder / "by-changes", stage.engines)
        try:
            return await storing.changes(
                workrs, image=stage.image, mib=mib, urls=stage.urls, folder=stage.folder
            )
        finally:
            await workrs.close()

    found, snapshots = asyncio.run(change())
    report.show_changes(f"Size, {mib} MiB", found)
    stage.keep("size", found, [report.size_bound(found)])
    _archives(stage, snapshots)
    for snapshot in snapshots:
        shutil.rmtree(snapshot.path)


def _archives(stage: Stage, snapshots: list[Snapshot]) -> None:
    contestants: list[archives.Archive] = [archives.Own(), archives.Own(sealed=False)]
    if stage.programs is not None:
        contestants += archives.rivals(stage.programs)
    rounds: dict[str, list[dict[str, float]]] = {one.name: [] for one in contestants}
    for _ in report.rounds("archives", stage.rounds):
        for archive in contestants:
            rounds[archive.name].append(archives.measure(archive, snapshots, stage.folder))
    found = {name: report.collect(ones) for name, ones in rounds.items()}
    report.show_archives(f"Archives, {max(stage.sizes_mib)} MiB, {stage.rounds} rounds", found)
    stage.keep("archives", {name: report.values(figures) for name, figures in found.items()}, [])
    for line in report.rival_verdicts(found, own=archives.OWN):
        print(line)


PARTS = {"speed": speed, "costs": costs, "size": size}
