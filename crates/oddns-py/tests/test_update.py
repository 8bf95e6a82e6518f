"""Going on learning: what is learned, what is left out, and how people say so."""

import copy
import datetime

import numpy
import pytest

from oddns import DataError, Detector

from conftest import waves

START = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)


def with_fault(n_rows=1000, seed=3):
    """The second feature is away from row 400 to 499."""
    later = waves(n_rows, seed=seed)
    later[400:500, 1] += 30
    return later


def updated(detector, *arguments, **feedback):
    return copy.deepcopy(detector).update(*arguments, **feedback)


def timed(values):
    pandas = pytest.importorskip("pandas")
    index = pandas.date_range(START, periods=len(values), freq="15s")
    return pandas.DataFrame(values, columns=["load", "errors", "size"], index=index)


def at(row):
    return START + datetime.timedelta(seconds=15 * row)


@pytest.mark.parametrize("kind", ["masked", "1d", "2d", "masked_without_network"])
def test_what_the_detector_alarms_is_not_learned(normal, kind):
    detector = Detector(kind=kind, epochs=1).fit(normal)
    later = with_fault()
    before = detector.score(later)
    after = detector.update(later)
    assert (before[400:500] > 1).sum() > 90 and (after.score(later)[400:500] > 1).sum() > 90
    assert (after.score(later)[:400] < 1).all()
    told = after.update_
    assert told["rows"] == 1000 and told["alarmed"] >= 100 and told["learned"] < 900
    assert told["learned"] + told["alarmed"] + told["incident"] == told["rows"]


def test_what_was_normal_long_ago_is_not_forgotten():
    rare = waves(1600)
    rare[700:900, 1] += 8
    detector = Detector(epochs=1, seed=2).fit(rare)
    for seed in range(3):
        detector.update(waves(600, seed=10 + seed))
        assert detector.update_["kept"] > 0
    usual = waves(1000, seed=20)
    again = usual.copy()
    again[700:900, 1] += 8
    forgetful = Detector(epochs=1, seed=2).fit(usual)
    assert (detector.score(again)[750:] > 1).mean() < 0.1 < (forgetful.score(again)[750:] > 1).mean()


def test_marks_are_read_as_they_are_meant(detector):
    later = with_fault()
    marks = numpy.zeros(1000)
    marks[400:500] = 1
    ways = [marks, marks.astype(bool), marks.astype(int).tolist(), numpy.where(marks == 1, -1, 1)]
    models = [updated(detector, later, feedback=one) for one in ways]
    assert len({one.model_.encode() for one in models}) == 1
    assert models[0].update_["incident"] >= 100
    spans = [[(400, 499)], [(400, -501, True)], [(400, 499, "right")], [(400, 499), (400, 499)]]
    for span in spans:
        assert updated(detector, later, feedback=span).model_.encode() == models[0].model_.encode()
    # Rows that are all normal are all 1 by `predict`; and the detector judges what nobody spoke of.
    plain = updated(detector, later).model_.encode()
    for nothing in (numpy.ones(1000), numpy.zeros(1000), numpy.zeros(1000, bool), [], None):
        assert updated(detector, later, feedback=nothing).model_.encode() == plain


def test_what_predict_says_is_feedback(detector):
    later = with_fault()
    told = updated(detector, later, feedback=detector.predict(later))
    assert (told.predict(later)[400:500] == -1).sum() > 90 and (told.predict(later)[:400] == 1).all()


@pytest.mark.parametrize(
    "feedback, message",
    [
        (numpy.zeros(10), "one mark for each row"),
        (numpy.full(1000, 2), "holds 2: give booleans, 1 for anomalous and 0"),
        (numpy.full(1000, numpy.nan), "holds nan: give booleans"),
        (["odd"] * 1000, "holds 'odd': give booleans"),
        (numpy.arange(1000) % 3 - 1, "-1, 0 and 1 together"),
        ([(400,)], r"is no \(start, end\)"),
        ([(400, 1000)], "there is no row 1000: the data has 1000"),
        ([(500, 400)], "ends before it starts"),
        ([(400.0, 499.0)], "`400.0` is no row and no time"),
        ([(400, "2026-11-22T00:00:00Z")], "mixes a row and a time"),
        ([("2026-11-22T00:00:00Z", "2026-11-22T01:00:00Z")], "the data has no times"),
        ([(400, 499, 1)], "give True for anomalous, False for normal"),
        ([(400, 499, "wrong")], "a word of normal, right, missed"),
        ([(400, 450, False), (440, 499, True)], "contradicts itself"),
    ],
)
def test_feedback_that_cannot_be_used(detector, feedback, message):
    with pytest.raises(DataError, match=message):
        updated(detector, with_fault(), feedback=feedback)


def test_nothing_quiet_is_an_error_and_changes_nothing(detector):
    later = waves(300, seed=4)
    later[:, 1] += 30
    copied = copy.deepcopy(detector)
    before = copied.model_.encode()
    with pytest.raises(DataError, match="300 alarmed|nothing.*learn"):
        copied.update(later)
    assert copied.model_.encode() == before


def test_times_are_those_of_the_data(normal):
    detector = Detector(epochs=1).fit(timed(normal))
    later = timed(with_fault())
    later.index += datetime.timedelta(days=1)
    first, last = later.index[400], later.index[499]
    ways = [
        [(400, 499)],
        [(first, last)],
        [(first.isoformat(), last.isoformat())],
        [(first.to_numpy(), last.to_numpy())],
    ]
    assert len({updated(detector, later, feedback=one).model_.encode() for one in ways}) == 1
    assert detector.explain(later, at=first).row == detector.explain(later, at=400).row == 400
    with pytest.raises(DataError, match="no row and no time"):
        detector.explain(later, at=first.timestamp())
    elsewhere = updated(detector, later, feedback=[("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z")])
    assert len(elsewhere.update_["unused"]) == 1
    with pytest.raises(DataError, match="of several servers: give times"):
        updated(detector, [later, later], feedback=[(400, 499)])


def test_a_false_alarm_stays_none_over_later_updates(detector):
    later = with_fault(seed=3)
    told = updated(detector, later, feedback=[(400, 499, False)])
    assert told.update_["patterns"] == 1
    assert (told.score(with_fault(seed=5))[400:500] > 1).sum() < 30
    # Rows without times follow one another: what was said of rows 400 to 499 is not said of these.
    told.update(with_fault(seed=6))
    assert told.update_["patterns"] == 1 and told.update_["alarmed"] < 100
    other = waves(1000, seed=7)
    other[400:500, 0] += 60
    assert (told.score(other)[400:500] > 1).sum() > 50


def test_what_goes_the_way_of_what_was_missed_raises_an_alarm(detector):
    def weak(seed):
        rows = waves(1000, seed=seed)
        rows[400:500, 1] += 0.7
        return rows

    assert updated(detector, weak(3), feedback=[(400, 499)]).update_["patterns"] == 0
    found = updated(detector, weak(3), feedback=[(400, 499, "missed")])
    assert found.update_["patterns"] == 1
    before, after = (one.score(weak(4)) > 1 for one in (detector, found))
    assert before[400:500].sum() < 5 and after[400:500].sum() > 20 and after[:400].sum() < 20


def test_the_line_of_predict_is_that_of_quiet_rows(normal):
    detector = Detector(epochs=1, contamination=0.02).fit(normal)
    detector.update(with_fault())
    assert (detector.predict(with_fault())[410:490] == -1).all()
    assert (detector.predict(waves(1000, seed=9)) == -1).mean() < 0.2
