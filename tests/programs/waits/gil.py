"""Two threads that compute, and one that has nothing to do."""

import threading
import time


def compute():
    while True:
        sum(range(1000))


for _ in range(2):
    threading.Thread(target=compute, daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
