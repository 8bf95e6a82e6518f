"""What the class does with NumPy alone."""

import copy
import pickle
import subprocess
import sys

import numpy
import pytest

import oddns
from oddns import DataError, Detector, ModelError, NotFittedError

from conftest import waves


def test_what_is_odd_scores_above_the_line_and_is_explained(detector, normal, broken):
    assert (detector.score(waves(400, seed=1))[50:] < 1).all()
    scores = detector.score(broken)
    assert scores.shape == (400,) and (scores[310:] > 1).any()
    assert detector.predict(normal)[-1] == 1 and detector.predict(broken)[305] == -1
    assert not detector.alarms(broken)[:300].any() and detector.alarms(broken)[305:320].any()
    why = detector.explain(broken)
    assert why.features[0].name == "x1" and why.row >= 300 and why.features[0].share > 0.5
    assert why.alarm and "x1" in str(why) and "ALARM" in str(why)
    assert detector.explain(broken, at=10).row == 10
    assert detector.explain(broken, at=310 * 15.0).row == 310
    [incident] = detector.incidents(broken)
    assert incident["movements"][0]["feature"] == "x1"


def test_signs_are_those_of_scikit_learn(detector, broken):
    score = detector.score(broken)
    assert (detector.score_samples(broken) == -score).all()
    assert numpy.allclose(detector.decision_function(broken), 1 - score)
    assert ((detector.predict(broken) == -1) == (score > 1)).all()


def test_the_same_seed_gives_the_same_model(normal):
    first, second = (Detector(epochs=1, seed=7, threads=n).fit(normal) for n in (1, 2))
    assert first.model_.encode() == second.model_.encode()
    assert Detector(epochs=1, seed=8).fit(normal).model_.encode() != first.model_.encode()


@pytest.mark.parametrize("kind", ["masked", "1d", "2d", "static_pca", "masked_without_network"])
def test_every_kind_is_saved_and_loaded_to_the_bit(tmp_path, normal, broken, kind):
    detector = Detector(kind=kind, epochs=1).fit(normal)
    detector.save(tmp_path / "m.keras")
    for other in (
        Detector.load(tmp_path / "m.keras"),
        Detector().import_weights(tmp_path / "m.keras"),
        pickle.loads(pickle.dumps(detector)),
        copy.deepcopy(detector),
    ):
        assert (other.score(broken) == detector.score(broken)).all()
    assert [p.name for p in tmp_path.iterdir()] == ["m.keras"]


def test_architecture_by_plain_words(plain, capsys):
    plain.summary()
    told = capsys.readouterr().out
    assert "encoder_1 (Conv1D)" in told and "(None, 6, 16)" in told and "latent (Dense)" in told
    image = Detector(kind="2d", layers=[4], kernel=3, latent=2, epochs=0).fit(waves(200))
    assert "Conv2D" in [kind for _, kind, *_ in image.network.native.layers()]
    with pytest.raises(ModelError, match="are for kind '1d' and '2d', not 'masked'"):
        Detector(kind="masked", layers=[4]).fit(waves(200))
    with pytest.raises(ModelError, match="`channels` is 0, it must be 1 to 512"):
        Detector(layers=[0]).fit(waves(200))


def test_the_names_of_the_rfc(tmp_path, normal, broken):
    detector = Detector()
    detector.initialize_new_weights()
    detector.train(number_of_iterations=1, batch_size=10, data=normal)
    before = detector.score(broken)
    assert detector.epochs is None and detector.batch == 20
    detector.save(tmp_path / "m.keras")
    again = Detector().import_weights(tmp_path / "m.keras")
    assert (again.predict(broken) == detector.predict(broken)).all()
    again.train(1, None, normal)
    assert (again.score(broken) != before).any()
    with pytest.raises(NotFittedError):
        again.initialize_new_weights().predict(broken)


def test_a_network_of_ones_own_goes_on_from_its_weights(tmp_path, plain, normal, broken):
    path = tmp_path / "own.keras"
    plain.network.save(path)
    kept = Detector(model=path, epochs=0).fit(normal)
    for (name, ours), (_, theirs) in zip(kept.network.weights(), plain.network.weights()):
        assert (ours == theirs).all(), name
    assert kept.score(broken)[310:].max() > 1
    trained = Detector(model=plain.network, epochs=1).fit(normal)
    assert (trained.network.weights()[0][1] != plain.network.weights()[0][1]).any()
    imported = Detector().import_weights(path).train(0, None, normal)
    assert (imported.score(broken) == kept.score(broken)).all()
    with pytest.raises(ModelError, match="a sequence has 2 features, the network expects 3"):
        Detector(model=path).fit(normal[:, :2])


def test_update_leaves_out_what_was_anomalous(detector, normal):
    later = waves(600, seed=3)
    later[100:160, 1] += 30
    marks = numpy.zeros(600)
    marks[100:160] = 1
    spans = [(100 * 15, 159 * 15), (300 * 15, 310 * 15, False)]
    by_marks = copy.deepcopy(detector).update(later, feedback=marks)
    by_spans = copy.deepcopy(detector).update(later, feedback=spans)
    assert by_marks.model_.encode() == by_spans.model_.encode()
    assert by_marks.model_.record["rows"] == 540
    with pytest.raises(DataError, match="one mark for each row"):
        copy.deepcopy(detector).update(later, feedback=marks[:10])


def test_contamination_draws_the_line_where_asked(normal):
    detector = Detector(contamination=0.1, epochs=1).fit(normal)
    assert (detector.predict(normal) == -1).sum() == 50
    with pytest.raises(ModelError, match="above 0, at most 0.5"):
        Detector(contamination=0.7).fit(normal)


def test_several_servers(detector, normal, broken):
    both = Detector(epochs=1).fit([normal, waves(300, seed=5)])
    assert both.model_.record["rows"] == 800
    assert detector.score([broken, normal]).shape == (900,)
    assert detector.explain([normal, broken]).features[0].name == "x1"


def test_progress_is_told_and_an_exception_in_it_stops(normal):
    told = []
    Detector(epochs=3, progress=lambda *step: told.append(step)).fit(normal)
    step, steps, loss = told[-1]
    assert step == steps and loss > 0

    def stop(*_):
        raise KeyError("enough")

    long = waves(20_000)
    with pytest.raises(KeyError, match="enough"):
        Detector(epochs=1000, progress=stop).fit(long)


def test_a_bar_is_drawn_on_demand_only(normal, capsys):
    Detector(epochs=3, progress=True).fit(normal)
    assert "loss" in capsys.readouterr().err
    Detector(epochs=3).fit(normal)
    assert capsys.readouterr().err == ""


def test_importing_needs_numpy_alone():
    code = "import sys, oddns; print([m for m in ('sklearn', 'pandas', 'polars', 'pyarrow') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_safetensors_are_read_by_the_library(tmp_path, plain):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    plain.export_safetensors(tmp_path / "m.safetensors")
    read = numpy_reader.load_file(tmp_path / "m.safetensors")
    for name, values in plain.network.weights():
        assert (read[name] == values).all()
    with pytest.raises(ModelError, match="has no network"):
        Detector(kind="static_pca").fit(waves(200)).export_safetensors(tmp_path / "no")


def test_everything_has_its_words():
    for name in oddns.__all__:
        thing = getattr(oddns, name)
        assert name == "__version__" or thing.__doc__, name
