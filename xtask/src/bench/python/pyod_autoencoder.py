import numpy
from pyod.models.auto_encoder import AutoEncoder


def without_gaps(rows, usual):
    return numpy.where(numpy.isnan(rows), usual, rows)


def fit(rows):
    usual = numpy.nan_to_num(numpy.nanmean(rows, axis=0))
    detector = AutoEncoder(verbose=0)
    detector.fit(without_gaps(rows, usual))
    return detector, usual


def score(fitted, rows):
    detector, usual = fitted
    return detector.decision_function(without_gaps(rows, usual))
