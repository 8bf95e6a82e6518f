"""What `oddns train` and `oddns score` do, from Python: `whole.py RECORDINGS FOLDER`."""

import pathlib
import sys
import time

from oddns import Detector

recordings, folder = (pathlib.Path(argument) for argument in sys.argv[1:])
print("ready", flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    detector = Detector(progress=False).fit(recordings / "coredns-normal")
    fitted = time.perf_counter()
    detector.save(folder / "ours.keras")
    scores = detector.score(recordings / "coredns-faults")
    print(time.perf_counter() - start, fitted - start, len(scores), flush=True)
