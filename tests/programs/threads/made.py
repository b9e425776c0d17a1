# Five threads that wait, each made by make_one.
import threading
import time

never = threading.Event()


def make_one():
    threading.Thread(target=never.wait, daemon=True).start()


for _ in range(5):
    make_one()
print("ready", flush=True)
time.sleep(100000)
