"""Runs a program of this folder on the data of a folder, and answers each word with numbers.

    python worker.py PROGRAM FOLDER

FOLDER holds `normal.npy`, rows of normal operation, `later.npy`, rows to be judged, and `odd.npy`,
which of these a fault was done to.
"""

import importlib
import pathlib
import resource
import sys
import time

import numpy


def average_precision(odd, scores):
    """Mean over the odd rows of the share of odd ones among the rows with such a score or higher."""
    order = numpy.argsort(-scores, kind="stable")
    hits = odd[order]
    return float((numpy.cumsum(hits) / numpy.arange(1, len(hits) + 1))[hits].mean())


def area_under_curve(odd, scores):
    """Probability that an odd row has a higher score than another, ties counted half."""
    values, place, count = numpy.unique(scores, return_inverse=True, return_counts=True)
    rank = (numpy.cumsum(count) - (count - 1) / 2)[place]
    n_odd, n_other = odd.sum(), (~odd).sum()
    return float((rank[odd].sum() - n_odd * (n_odd + 1) / 2) / (n_odd * n_other))


class Work:
    def __init__(self, program, folder):
        self.program = program
        names = ("normal", "later", "odd")
        self.normal, self.later, self.odd = (numpy.load(folder / f"{name}.npy") for name in names)
        self.detector = None
        self.scores = None

    def fit(self):
        start = time.perf_counter()
        self.detector = self.program.fit(self.normal)
        return [time.perf_counter() - start]

    def score(self):
        start = time.perf_counter()
        self.scores = numpy.asarray(self.program.score(self.detector, self.later))
        return [time.perf_counter() - start]

    def found(self):
        odd = self.odd[len(self.odd) - len(self.scores):]
        return [average_precision(odd, self.scores), area_under_curve(odd, self.scores)]

    def memory(self):
        return [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]


def main():
    name, folder = sys.argv[1:]
    told = sys.stdout
    sys.stdout = sys.stderr
    work = Work(importlib.import_module(name), pathlib.Path(folder))
    print("ready", file=told, flush=True)
    for question in sys.stdin:
        answer = getattr(work, question.strip())()
        print(*answer, file=told, flush=True)


main()
