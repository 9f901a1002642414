"""What happened in a run: a digest always, and the lines when somebody wants to read them."""

from zlib import crc32


class Trace:
    """The story of one run."""

    def __init__(self, *, keep: bool = False) -> None:
        """Keep the lines only if *keep*."""
        self.is_kept = keep
        self.lines: list[str] = []
        self.digest = 0
        """Of every message and every line: two runs are the same if it is."""

    def add(self, now_s: float, what: str, who: str, about: str) -> None:
        """Add a line."""
        text = f"{now_s:9.4f} {who:>4} {what} {about}"
        self.digest = crc32(text.encode(), self.digest)
        if self.is_kept:
            self.lines.append(text)

    def mix(self, now_s: float, topic: str) -> None:
        """Let a message count for the digest."""
        self.digest = crc32(f"{now_s:.6f}{topic}".encode(), self.digest)
