"""Password hashes at a steady rate, by a process that takes of the processors only what nobody else wants.

`python -m scripts.commands.bench.hashes RATE SECONDS`; what it does to others is the machine's doing: memory and
caches.
"""

import os
import sys
import threading
import time

from models.identity import passwords

THREADS = 4


def keep_hashing(rate: int, seconds: int) -> None:
    """Hash `rate` passwords a second; what is late is not made up for."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread, and of those that it begins
    end = time.monotonic() + seconds

    def hash_in_turn(number: int) -> None:
        due = time.monotonic() + number / rate
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            passwords.hash("correct horse battery")
            due = max(time.monotonic(), due + THREADS / rate)

    threads = [threading.Thread(target=hash_in_turn, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    keep_hashing(int(sys.argv[1]), int(sys.argv[2]))
