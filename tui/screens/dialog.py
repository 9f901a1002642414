"""Questions before anything is changed, and what is shown apart: each is left by Escape."""

from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from tui.cell import Cell
from tui.widgets.sheet import Sheet
from workrs.domain.errors import IdError
from workrs.domain.ids import local_job_id

T = TypeVar("T")


class Dialog(ModalScreen[T]):
    """A box above the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "leave it", id="dialog.leave"),
    ]


class Confirm(Dialog[bool]):
    """Asks whether to do something, and says what follows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes", id="dialog.yes"),
        Binding("n", "answer(False)", "no", id="dialog.no"),
        Binding("left,right", "app.focus_next", "other", show=False),
    ]

    def __init__(self, question: str, *, follows: str, yes: str, no: str = "No") -> None:
        super().__init__()
        self._question = question
        self._follows = follows
        self._yes, self._no = yes, no

    def compose(self) -> ComposeResult:
        """Lay it out; the harmless answer has the focus."""
        with Vertical(id="box"):
            yield Static(self._question, classes="heading", markup=False)
            yield Static(self._follows, classes="remark", markup=False)
            with Horizontal(id="buttons"):
                yield Button(f"{self._no} (n)", id="no", compact=True)
                yield Button(f"{self._yes} (y)", id="yes", compact=True)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:  # noqa: FBT001 (Textual calls it)
        """Leave with an answer."""
        self.dismiss(answer)


class Submission(NamedTuple):
    """A job to submit."""

    spec: bytes
    job: str


def _path(typed: str) -> Path:
    """Return the path that was typed. `~NAME` of nobody stays as it is, as in shells."""
    path = Path(typed.strip())
    try:
        return path.expanduser()
    except RuntimeError:
        return path


class Submit(Dialog[Submission]):
    """Asks for a file with a spec, and for the job's id."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(id="box"):
            yield Static("Submit a job", classes="heading")
            yield Static(
                f"A file with a job spec in JSON (docs/protocol.md). The job will be "
                f"{self._device}'s.",
                classes="remark",
                markup=False,
            )
            yield Input(placeholder="file", id="file", compact=True)
            yield Input(placeholder="id of the job; empty: the file's name", id="id", compact=True)
            yield Static("", id="wrong", classes="wrong", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Leave it", id="no", compact=True)
                yield Button("Submit", id="yes", compact=True)

    @on(Button.Pressed, "#no")
    def _leave(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed, "#yes")
    @on(Input.Submitted)
    def _done(self) -> None:
        path = _path(self.query_one("#file", Input).value)
        wrong = self.query_one("#wrong", Static)
        try:
            spec = path.read_bytes()
            # Here: a node drops what is no id without a word.
            job = local_job_id(self.query_one("#id", Input).value.strip() or path.stem)
        except OSError as error:
            wrong.update(f"cannot read {path}: {error.strerror}")
        except IdError as error:
            wrong.update(f"{error}. Write another one")
        else:
            self.dismiss(Submission(spec, job))


class Shown(Dialog[None]):
    """Shows text, and writes what it stands for to a file if that is wanted."""

    def __init__(self, title: str, lines: list[Cell], data: bytes | None = None) -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._data = data

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with Vertical(id="box"):
            yield Static(self._title, classes="heading", markup=False)
            with VerticalScroll(id="body"):
                yield Sheet(id="text")
            if self._data is not None:
                yield Static("", classes="remark", id="said", markup=False)
                yield Input(placeholder="write it to this file", id="file", compact=True)

    def on_mount(self) -> None:
        """Show the text."""
        self.query_one("#text", Sheet).show(self._lines)
        self.query_one("#body").focus()

    @on(Input.Submitted)
    def _write(self, event: Input.Submitted) -> None:
        path = _path(event.value)
        said = self.query_one("#said", Static)
        try:
            # Not over what is there: the path was typed in passing.
            with path.open("xb") as file:
                file.write(self._data or b"")
        except OSError as error:
            said.update(f"cannot write {path}: {error.strerror}")
        else:
            said.update(f"written to {path}")
