"""Run a child process, as dramatiq does. On SIGTERM, finish a job of `argv[1]` seconds; on a second, stop."""

import signal
import subprocess
import sys
import time

child = subprocess.Popen(["sleep", "1000"])
print(f"child {child.pid}", flush=True)
signals = []


def stop(number, _frame):
    signals.append(number)
    print("TERM", flush=True)


signal.signal(signal.SIGTERM, stop)
while not signals:
    signal.pause()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and len(signals) == 1:
    time.sleep(0.01)
print("job finished" if len(signals) == 1 else "job killed", flush=True)
child.terminate()
child.wait()
