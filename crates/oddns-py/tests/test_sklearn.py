"""The conventions of scikit-learn."""

import numpy
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from oddns import DataError, Detector, NotFittedError, scoring

ORDER = "rows are instants: each is judged by those before it, so their order and number count"
LINE = (
    "the line is drawn for false alarms a week, not for a share of the training rows: none of them is "
    "an outlier; with `contamination` the check passes"
)


def not_applicable(estimator):
    declared = {
        "check_methods_sample_order_invariance": ORDER,
        "check_methods_subset_invariance": ORDER,
    }
    if estimator.contamination is None:
        declared["check_outliers_train"] = LINE
        declared["check_outliers_fit_predict"] = LINE
    return declared


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [Detector(contamination=0.1, epochs=1), Detector(epochs=1), Detector(kind="1d", contamination=0.1, epochs=1)],
    expected_failed_checks=not_applicable,
)
def test_check(estimator, check):
    check(estimator)


def test_pipeline_and_clone(normal, broken):
    line = make_pipeline(StandardScaler(), Detector(epochs=1))
    scores = line.fit(normal).decision_function(broken)
    assert (scores[310:] < 0).any() and (scores[50:300] > 0).all()
    again = clone(line).fit(normal)
    assert (again.decision_function(broken) == scores).all()
    with pytest.raises(NotFittedError):
        clone(line[-1]).predict(broken)


def test_scorers_of_ours(normal, broken):
    marks = numpy.arange(400) >= 300
    grid, splits = {"kind": ["masked", "1d"]}, TimeSeriesSplit(2)
    search = GridSearchCV(Detector(epochs=1), grid, scoring=scoring.separation, cv=[(range(300), range(400))])
    for y in (marks, numpy.where(marks, -1, 1), marks.astype(int)):
        assert 0.9 < search.fit(broken, y).best_score_ <= 1
    calm = GridSearchCV(Detector(epochs=1), grid, scoring=scoring.calm, cv=splits).fit(normal)
    assert 0 < calm.best_score_ < 1
    detector = Detector(epochs=1).fit(normal)
    ranks = roc_auc_score(marks, detector.score(broken))
    assert scoring.separation(detector, broken, marks) == pytest.approx(ranks)
    with pytest.raises(DataError, match="`y` has 0 anomalous and 400 other rows"):
        scoring.separation(detector, broken, numpy.ones(400))
    with pytest.raises(DataError, match=r"`y` has shape \(3,\) for 400 rows"):
        scoring.separation(detector, broken, [1, 0, 1])


def test_a_search_without_a_scorer_is_told_of_one(normal):
    search = GridSearchCV(Detector(epochs=1), {"seed": [1, 2]}, cv=TimeSeriesSplit(2))
    with pytest.raises(TypeError, match="scoring=oddns.scoring.separation"):
        search.fit(normal)


def test_grid_search(normal, broken):
    labels = numpy.where(numpy.arange(400) >= 300, -1, 1)

    def separation(detector, X, y=None):
        score = detector.score(broken)
        return score[labels == -1].mean() - score[labels == 1].mean()

    search = GridSearchCV(
        Detector(epochs=1),
        {"kind": ["masked", "1d"], "alarms_per_week": [1.0, 7.0]},
        scoring=separation,
        cv=TimeSeriesSplit(2),
        error_score="raise",
    )
    search.fit(normal)
    assert set(search.best_params_) == {"kind", "alarms_per_week"}
    assert search.best_estimator_.score(broken)[310:].max() > 1
