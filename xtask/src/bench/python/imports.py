"""Seconds that a fresh interpreter takes to import the package."""

import subprocess
import sys

CODE = "import time; start = time.perf_counter(); import oddns; print(time.perf_counter() - start)"

print("ready", flush=True)
for _ in sys.stdin:
    told = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    print(told.stdout.strip(), flush=True)
