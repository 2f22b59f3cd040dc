"""How many ids a queue at the broker should hold: enough that workers never wait, and no more.

What lies there has been decided: a job that comes later, however urgent and whoever's, is behind it. So the target
follows what workers fetch between two looks of the relay. It doubles when a queue was found empty and shrinks slowly
while more than half of it is left.
"""

LEAST = 4
MOST = 256


class Depth:
    """The target of one queue."""

    def __init__(self) -> None:
        self.target = LEAST
        self._filled_to = 0

    def room(self, present: int) -> int:
        """How many ids to add to a queue that holds `present`; learns from what has gone since the last time."""
        if self._filled_to >= self.target and present == 0:
            self.target = min(MOST, self.target * 2)
        elif present * 2 > self.target:
            self.target = max(LEAST, self.target - 1)
        return max(0, self.target - present)

    def filled(self, present: int, added: int) -> None:
        """Note what the queue holds now."""
        self._filled_to = present + added
