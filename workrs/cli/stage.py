"""Where `workrs up`, the demo, the bench and the tests play: engines, an image, functions.

On a machine that can checkpoint memory these are Docker Engines of our own, apart from any
that is already there. Elsewhere jobs run as plain processes, and the stage says so.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from workrs.domain.errors import ConfigError
from workrs.engine.own import OwnEngine, missing, own_engines
from workrs.engine.probe import best, probe_machine, rungs
from workrs.examples.functions import functions_toml
from workrs.ports.runtime import Rung

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What agents of a local cluster are given."""

    runtime: str
    """docker or process."""
    rung: Rung
    why: str
    """Why no better rung."""
    engines: tuple[str, ...]
    """URLs; empty for the process runtime."""
    image: str
    functions: Path
    folders: tuple[str, ...] = ()
    """Of the engines. No process and no mount may name them once the stage is gone."""

    def engine(self, position: int) -> str:
        """Return the engine of the agent at this position, or an empty string."""
        return self.engines[position % len(self.engines)] if self.engines else ""


def data_folder() -> Path:
    """Return where this machine keeps engines' data between runs."""
    return Path("/var/lib/workrs")


@contextmanager
def stage(
    root: Path,
    *,
    purpose: str,
    runtime: str = "auto",
    engines: int = 1,
    say: Say = lambda _text: None,
) -> Iterator[Stage]:
    """Set a stage below *root* while the context lasts.

    Args:
        root: folder for the functions file.
        purpose: up, demo, test or bench: each has engines of its own, so they do not collide.
        runtime: docker, process, or auto: docker where an engine of ours can run.
        engines: how many Docker Engines.
        say: told what is going on, a sentence at a time.

    Raises:
        EngineError: docker was asked for and cannot be had; the text says what to install.
        ConfigError: nothing can be written into *root*.
    """
    obstacle = missing() if runtime == "auto" else None
    with ExitStack() as stack:
        if runtime == "process" or obstacle:
            why = obstacle or "plain processes were asked for"
            yield _stage(root, Rung.FILES, why, engines=(), image="none")
            return
        say(f"starting {engines} Docker Engine{'s' if engines > 1 else ''} of our own")
        started = stack.enter_context(own_engines(engines, data_folder() / "engines" / purpose))
        yield _with_engines(root, started, say)


def _with_engines(root: Path, started: tuple[OwnEngine, ...], say: Say) -> Stage:
    from workrs.engine.engine_facts import probe_engine  # noqa: PLC0415 (a help needs no SDK)
    from workrs.engine.image import build_image  # noqa: PLC0415 (likewise)

    urls = tuple(engine.url for engine in started)
    say("building a small image from this machine's own Python")
    image = build_image(list(urls))
    verdict = best(rungs(probe_machine(), probe_engine(urls[0])))
    layouts = [engine.layout for engine in started]
    folders = tuple(str(path) for layout in layouts for path in (layout.data, layout.run))
    found = _stage(root, verdict.rung, verdict.why, engines=urls, image=image.image_id)
    return replace(found, folders=folders)


def _stage(root: Path, rung: Rung, why: str, *, engines: tuple[str, ...], image: str) -> Stage:
    functions = root / "functions.toml"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        functions.write_text(functions_toml(image))
    except OSError as error:
        raise ConfigError(f"cannot use the folder {root}: {error.strerror}") from error
    return Stage(
        runtime="docker" if engines else "process",
        rung=rung,
        why=why,
        engines=engines,
        image=image,
        functions=functions,
    )
