"""Which files make up a job image: this machine's Python, what it links to, a shell, packages.

The image has Python at /usr/local, whatever its place on the machine: an interpreter finds its
library from where it lies itself. Nothing is read here but names, sizes and times.
"""

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import which

from packaging.requirements import Requirement

from workrs.domain.errors import ContainerError

_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = PurePosixPath("usr/local/lib", _VERSION)

_SKIPPED_FOLDERS = {
    *("__pycache__", "test", "tests", "site-packages", "dist-packages", "pydoc_data"),
    *("ensurepip", "idlelib", "lib2to3", "tkinter", "turtledemo"),
}
_SKIPPED_EXTENSION_MODULES = ("_tkinter", "_test", "_ctypes_test", "_xx", "xx")
_SKIPPED_SUFFIXES = {".a", ".c", ".h", ".pxd", ".pyc", ".pyi", ".pyx"}
_SKIPPED_RECORDS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
_LINKED = re.compile(r"^\s+(?:\S+ => )?(/\S+) \(0x", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """An empty folder."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A file with the content of one of this machine."""

    source: Path
    mode: int = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A file with this content."""

    text: str


Entry = Folder | Link | Copy | Text
Files = dict[PurePosixPath, Entry]
"""What is in an image, by its path without the leading slash."""


def collect(packages: Iterable[str] = ()) -> Files:
    """Return the files of an image with *packages* and what they require, without libraries.

    Args:
        packages: names of distributions that are installed beside this module.

    Raises:
        ContainerError: a package is not installed, or no BusyBox is.
    """
    files = _skeleton()
    files |= _python()
    files |= _busybox()
    for distribution in _with_requirements(packages):
        files |= _distribution(distribution)
    return dict(sorted(files.items()))


def _skeleton() -> Files:
    files: Files = {
        PurePosixPath(name): Folder()
        for name in ("dev", "etc", "job", "proc", "run", "sys", "usr/bin", "usr/lib", "usr/lib64")
    }
    for name in ("bin", "lib", "lib64"):
        files[PurePosixPath(name)] = Link(target=f"usr/{name}")
    files[PurePosixPath("sbin")] = Link(target="usr/bin")
    files[PurePosixPath("root")] = Folder(mode=0o700)
    files[PurePosixPath("tmp")] = Folder(mode=0o1777)
    files[PurePosixPath("etc/passwd")] = Text(
        text="root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    )
    files[PurePosixPath("etc/group")] = Text(text="root:x:0:\nnogroup:x:65534:\n")
    return files


def _python() -> Files:
    program = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    folder = PurePosixPath("usr/local/bin")
    files: Files = {
        folder / _VERSION: Copy(source=program, mode=0o755),
        folder / "python3": Link(target=_VERSION),
        folder / "python": Link(target=_VERSION),
        # Debian's Python looks for packages here.
        LIBRARY / "dist-packages": Link(target="site-packages"),
        LIBRARY / "site-packages": Folder(),
    }
    library = Path(sysconfig.get_path("stdlib"))
    for source in _walk(library):
        if source.parent.name != "lib-dynload" or not source.name.startswith(
            _SKIPPED_EXTENSION_MODULES
        ):
            files[LIBRARY / source.relative_to(library)] = Copy(source=source)
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in _SKIPPED_FOLDERS and not path.name.startswith("config-"):
                yield from _walk(path)
        elif path.is_file() and path.suffix not in _SKIPPED_SUFFIXES:
            yield path


def _busybox() -> Files:
    program = which("busybox")
    if program is None:
        raise ContainerError("no busybox for the image's shell; type: ./run setup")
    folder = PurePosixPath("usr/bin")
    files: Files = {folder / "busybox": Copy(source=Path(program).resolve(), mode=0o755)}
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout
    for applet in applets.split():
        if applet != "busybox":
            files[folder / applet] = Link(target="busybox")
    return files


def _with_requirements(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    found: dict[str, importlib.metadata.Distribution] = {}
    wanted = [Requirement(name) for name in names]
    while wanted:
        requirement = wanted.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise ContainerError(
                f"package {name} is not installed here; type: {sys.prefix}/bin/pip install {name}"
            ) from error
        wanted += [
            required
            for required in map(Requirement, found[name].requires or ())
            if required.marker is None or required.marker.evaluate({"extra": ""})
        ]
    return [found[name] for name in sorted(found)]


def _distribution(distribution: importlib.metadata.Distribution) -> Files:
    files: Files = {}
    for file in distribution.files or ():
        skipped = (
            ".." in file.parts
            or _SKIPPED_FOLDERS.intersection(file.parts)
            or file.suffix in _SKIPPED_SUFFIXES
            or file.name in _SKIPPED_RECORDS
        )
        if not skipped:
            source = Path(str(distribution.locate_file(file)))
            files[LIBRARY / "site-packages" / PurePosixPath(file)] = Copy(source=source)
    return files


def libraries(files: Files) -> Files:
    """Return the shared libraries that programs and extension modules in *files* link to.

    Apart from `collect`, because asking the loader takes 0.3 s.
    """
    elf = [
        str(entry.source)
        for path, entry in files.items()
        if isinstance(entry, Copy) and (entry.mode == 0o755 or ".so" in path.suffixes)
    ]
    # Its exit status is 1 when one of them is static, as BusyBox is.
    output = subprocess.run(["ldd", *elf], check=False, capture_output=True, text=True).stdout
    linked = {Path(path) for path in _LINKED.findall(output)}
    libc = next(path for path in linked if path.name == "libc.so.6")
    # Linked by nothing, but loaded by libc when a thread is ended.
    linked.add(libc.parent / "libgcc_s.so.1")

    # Packages bring libraries that they find by themselves.
    inside = {entry.source.resolve() for entry in files.values() if isinstance(entry, Copy)}
    found: Files = {}
    for path in sorted(linked):
        if path.is_file() and path.resolve() not in inside:
            searched = path.parent == libc.parent or path.name.startswith("ld-linux")
            folder = PurePosixPath(path.parent if searched else "/usr/lib")
            below = folder.relative_to("/usr" if folder.is_relative_to("/usr") else "/")
            found["usr" / below / path.name] = Copy(source=path.resolve(), mode=0o755)
    return found
