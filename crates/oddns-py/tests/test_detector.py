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
    assert detector.explain(broken, at=-90).row == 310
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
    with pytest.raises(ModelError, match="`layers` is 0: give a whole number"):
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


def test_a_saved_detector_keeps_its_parameters(tmp_path, normal, broken):
    given = dict(kind="1d", layers=(16, 8), kernel=3, latent=4, window=12, epochs=2, batch=10)
    detector = Detector(**given, contamination=0.1, seed=3, interval=60, alarms_per_week=2).fit(normal)
    detector.save(tmp_path / "m.keras")
    loaded = Detector.load(tmp_path / "m.keras")
    assert loaded.get_params() == {**detector.get_params(), "layers": [16, 8]}
    assert (loaded.predict(broken) == detector.predict(broken)).all()
    again = Detector(**loaded.get_params()).fit(normal)
    assert again.model_.encode() == detector.model_.encode()
    imported = Detector(epochs=7).import_weights(tmp_path / "m.keras")
    assert (imported.epochs, imported.layers, imported.kind) == (7, [16, 8], "1d")
    bytes_of_the_command = detector.model_.encode()
    (tmp_path / "plain.keras").write_bytes(bytes_of_the_command)
    assert Detector.load(tmp_path / "plain.keras").kind == "reconstruction"
    for text in ("[]", "nonsense", '{"layers": 3}', '{"epochs": "many"}', "[" * 100_000):
        (tmp_path / "bad.keras").write_bytes(detector.model_.encode(text))
        with pytest.raises(ModelError, match="parameters in the model file are damaged"):
            Detector.load(tmp_path / "bad.keras")


def test_a_network_beside_sizes_of_another_is_refused(plain, normal):
    for name, value in {"layers": [8], "kernel": 5, "latent": 2, "kind": "2d"}.items():
        with pytest.raises(ModelError, match=f"`{name}` is given beside `model`"):
            Detector(model=plain.network, **{name: value}).fit(normal)
    with pytest.raises(ModelError, match="`window` is 16, `model` reads 12 rows"):
        Detector(model=plain.network, window=16).fit(normal)
    assert Detector(model=plain.network, window=12, epochs=0).fit(normal).score(normal).max() < 5


@pytest.mark.parametrize("kind", ["masked", "1d", "2d"])
def test_no_epochs_leave_the_weights_of_every_kind(tmp_path, normal, broken, kind):
    detector = Detector(kind=kind, epochs=1).fit(normal)
    detector.save(tmp_path / "m.keras")

    def same(other):
        pairs = zip(other.network.weights(), detector.network.weights())
        return all((ours == theirs).all() for (_, ours), (_, theirs) in pairs)

    own = Detector(model=tmp_path / "m.keras", epochs=0).fit(waves(700, seed=2))
    assert same(own) and own.score(broken)[310:].max() > 1
    still = Detector.load(tmp_path / "m.keras").set_params(epochs=0).update(waves(700, seed=2))
    assert same(still) and still.score(broken)[310:].max() > 1
    assert not same(Detector.load(tmp_path / "m.keras").update(waves(700, seed=2)))
    assert Detector(kind=kind, epochs=0).fit(normal).score(broken)[310:].max() > 1


def test_training_of_a_network_takes_what_fits(plain):
    network = copy.deepcopy(plain.network)
    x = numpy.random.default_rng(0).normal(size=(40, 12, 3))
    before = [values.copy() for _, values in network.weights()]
    assert numpy.isnan(network.fit(x, x, epochs=0).loss_)
    assert all((a == b).all() for a, (_, b) in zip(before, network.weights()))
    for target in (x[:, :5], x[:, :, :2], x.reshape(40, 36), x[:, 0, 0], numpy.ones((40, 1))):
        with pytest.raises(ModelError, match=r"the target has the shape .*gives \(\?, 12, 3\)"):
            network.fit(x, target)
    with pytest.raises(ModelError, match="the input has the shape"):
        network.fit(x[:, :5], x)
    with pytest.raises(ModelError, match="number of samples"):
        network.fit(x[:5], x)
    for name, value in (("epochs", -1), ("epochs", 1.5), ("batch_size", 0), ("batch_size", True)):
        with pytest.raises(ModelError, match=f"`{name}` is {value}: give a whole number"):
            network.fit(x, x, **{name: value})
    assert network.fit(x, x, epochs=2).loss_ > 0


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
