"""How long each step of something took."""

import asyncio


class Steps:
    """A stopwatch on the loop's clock."""

    def __init__(self) -> None:
        """Start the first step."""
        self.taken_s: dict[str, float] = {}
        self._since_s = asyncio.get_running_loop().time()

    def end(self, name: str) -> None:
        """End the step under way, and start the next."""
        now_s = asyncio.get_running_loop().time()
        self.taken_s[name] = now_s - self._since_s
        self._since_s = now_s
