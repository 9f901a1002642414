"""Another program under this device's name: each connection ends the other, for ever.

1. MQTT 5 has a word for it, which Mosquitto 2.0 does not say: it hangs up. So what counts is
   that connections stand, are ended soon by the other side, and can be made anew at once.
2. A few of these are nothing: a node ends connections on purpose, three times in two seconds,
   when a credential of that name was revoked. A node that is down takes no connection at all.
3. After that each further one doubles the pause, and the rival works meanwhile.
"""

_FREE = 4
_SOON_S = 10.0
_PAUSE_MIN_S = 1.0
_PAUSE_MAX_S = 60.0


class Rival:
    """What the ends of a device's connections tell of another program."""

    def __init__(self) -> None:
        self.count = 0
        """Connections that were ended soon, one after another."""
        self._pause_s = 0.0

    def pause_s(self, stood_s: float) -> float:
        """Note that the other side ended a connection; return how long to make none.

        Args:
            stood_s: how long that connection stood.
        """
        # A rival that pauses as long as this device lets it stand for so long, and is still there.
        if stood_s > _SOON_S + 2 * self._pause_s:
            self.forget()
        self.count += 1
        if self.count > _FREE:
            self._pause_s = min(max(_PAUSE_MIN_S, 2 * self._pause_s), _PAUSE_MAX_S)
        return self._pause_s

    def forget(self) -> None:
        """Note that a connection could not be made: it is the node's trouble."""
        self.count = 0
        self._pause_s = 0.0
