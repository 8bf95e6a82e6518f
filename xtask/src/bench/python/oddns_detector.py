from oddns import Detector


def fit(rows):
    return Detector(progress=False).fit(rows)


def score(detector, rows):
    return detector.score(rows)
