"""Hash passwords at a steady rate in a process with idle scheduling priority.

`python -m scripts.commands.bench.hashes RATE SECONDS`. It uses only idle processor time, so it affects others through
memory and caches alone.
"""

import os
import sys
import threading
import time

from models.identity import passwords

THREADS = 4


def keep_hashing(rate: int, seconds: int) -> None:
    """Hash `rate` passwords per second. Late hashes are not made up for."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # Applies to this thread and the threads that it starts.
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
