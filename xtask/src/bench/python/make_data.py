"""Writes the features of a bundled recording as arrays: `make_data.py RECORDINGS FOLDER`."""

import csv
import pathlib
import sys

import numpy
import oddns

recordings, folder = (pathlib.Path(argument) for argument in sys.argv[1:])
[normal, *_] = oddns.read(recordings / "coredns-normal", learn=True)
[later, *_] = oddns.read(recordings / "coredns-faults")
times = later.timestamps() / 1000
odd = numpy.zeros(len(later), bool)
with open(recordings / "coredns-faults" / "labels.csv") as labels:
    for label in csv.DictReader(labels):
        if label["anomalous"] == "1" and label["instance"] in ("*", later.instance):
            odd |= (float(label["start"]) <= times) & (times < float(label["end"]))
numpy.save(folder / "normal.npy", normal.values())
numpy.save(folder / "later.npy", later.values())
numpy.save(folder / "odd.npy", odd)
