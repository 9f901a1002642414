"""What the page answers instead of what was asked for. The text is for the visitor."""

from workrs.domain.errors import WorkrsError


class PageError(WorkrsError):
    """The request is not served; the text says why and what to do."""

    def __init__(self, status: int, text: str, *, retry_after_s: float = 0.0) -> None:
        """Name the HTTP status and the sentence.

        Args:
            status: 4xx or 5xx.
            text: what the visitor reads.
            retry_after_s: when the same request may be served; 0: it does not hang on time.
        """
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class WrongPasswordError(PageError):
    """The text is the same for a name that nobody has."""

    def __init__(self) -> None:
        """Say no more than that."""
        super().__init__(401, "name or password is not right")


class NotOwnError(PageError):
    """Something else than a page of ours caused the request: it gets nothing of ours."""


class NotSignedInError(PageError):
    """Nobody is signed in, or not any more."""

    def __init__(
        self, text: str = "sign in first: a session ends an hour after its last use"
    ) -> None:
        """Say why, if it is known."""
        super().__init__(401, text)
