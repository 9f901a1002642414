"""What all measurements share: the image, two engines, two nodes' stores, the rivals' programs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.checkpoint import packages, storing
from bench.checkpoint.engines import experimental_engines, write_archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bench.checkpoint.report import Bound


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where measurements take place, and what they found."""

    folder: Path
    """All that is written lies here."""
    archive: Path
    """The image of all programs."""
    engines: list[str]
    """URLs of two engines."""
    image: str
    """Its id there."""
    urls: list[str]
    """Of two nodes' stores."""
    programs: Path | None
    """Where Podman, restic and borg are; None where they cannot be had."""
    sizes_mib: list[int]
    rounds: int
    results: dict[str, object] = field(default_factory=dict)
    bounds: list[Bound] = field(default_factory=list)

    def keep(self, name: str, found: Mapping[str, object], bounds: list[Bound]) -> None:
        """Add to the results, and print how the bounds fared."""
        self.results[name] = found
        self.bounds += bounds
        for bound in bounds:
            print(bound)


@contextlib.contextmanager
def stage(folder: Path, *, programs: Path, sizes_mib: list[int], rounds: int) -> Iterator[Stage]:
    """Set all up in *folder*; unpack the rivals in *programs* unless they are there."""
    lacking = packages.unpack(programs)
    if lacking:
        print(f"without Podman, restic and borg: {lacking}")
    archive = folder / "image.tar"
    write_archive(archive)
    with (
        storing.node_stores(folder / "nodes") as urls,
        experimental_engines(folder / "docker", archive) as (engines, image),
    ):
        yield Stage(
            folder=folder,
            archive=archive,
            engines=[engine.url for engine in engines],
            image=image,
            urls=urls,
            programs=None if lacking else programs,
            sizes_mib=sizes_mib,
            rounds=rounds,
            results={"without": lacking},
        )
