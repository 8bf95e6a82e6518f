"""The class that learns what is normal and says what is odd."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import numpy

from . import _columns, _oddns, _parameters, _table
from ._errors import DataError, ModelError, ShortRecordWarning, TooShortError, not_fitted
from ._explanation import Explanation
from ._feedback import said
from ._file import read_model, write_whole
from ._network import Network, as_network
from ._oddns import Frame, Model, Scored
from ._progress import Listener, shown
from ._scores import Scores
from ._setting import count, count_or_none
from ._time import Instant, instant, is_row

#: By the words of `kind`; any other word is the name of a detector as the command knows it.
_KINDS = {"1d": "reconstruction", "2d": "reconstruction_2d"}
#: Rows of a stretch, of a detector that has windows of its own.
_STRETCH = 160


class Detector:
    """Learns what normal looks like, and scores how far from it later rows are.

    Rows are instants, columns features. The order of rows counts: a row is judged by those before it.

    Parameters
    ----------
    window : rows that are looked at together. Of the default kind the stretch it is trained on
        (160), of "1d" and "2d" what the network reconstructs (16).
    epochs : passes over the data; a measured number of steps when left out.
    batch : stretches, or windows, in a step.
    kind : "masked" (the default: seven members over a masked convolutional autoencoder), "1d" or "2d"
        (a plain convolutional autoencoder over time, or over the image of time and features), or a
        detector to compare with, such as "static_pca". With `layers`, `kernel` or `latent` it is
        "1d" unless said otherwise.
    layers : channels of the halving convolutions of "1d" and "2d", such as ``[64, 32, 16]``.
    kernel : taps of each convolution of "1d" and "2d".
    latent : size of the latent vector of "1d" and "2d".
    model : a network of one's own to go on from, in place of the above: the path of a ``.keras`` or
        ``.onnx`` file, a Keras model, or a `Network`. It reads windows of standardised rows,
        ``(window, features)``, and gives the same shape. With ``epochs=0`` its weights stay.
    alarms_per_week : false alarms that a server may have in a week.
    contamination : share of the training rows that `predict` calls outliers, above 0, at most 0.5.
        When left out the alarm line decides, above which a row of training hardly ever lies.
    interval : seconds between rows, where the data has no times.
    seed : of weights and batches; the same seed and data give the same model.
    threads : to train on; does not change the result.
    progress : None for a bar when standard error is a terminal, True, False, or a function that is
        told step, steps and loss.

    Attributes
    ----------
    model_ : what was learned.
    n_features_in_ : how many columns.
    feature_names_in_ : their names, where the data had names.
    offset_ : `decision_function` is `score_samples` minus this; -1 without `contamination`.
    update_ : what the last `update` did: how many rows were looked at, learned, left out and why, and
        learned again; feedback of times that are in no data (`unused`).
    """

    def __init__(
        self,
        *,
        window: Optional[int] = None,
        epochs: Optional[int] = None,
        batch: int = 20,
        kind: Optional[str] = None,
        layers: Optional[Sequence[int]] = None,
        kernel: Optional[int] = None,
        latent: Optional[int] = None,
        model: Any = None,
        alarms_per_week: float = 1.0,
        contamination: Optional[float] = None,
        interval: float = 15.0,
        seed: int = 1,
        threads: int = 2,
        progress: Union[None, bool, Listener] = None,
    ) -> None:
        self.window = window
        self.epochs = epochs
        self.batch = batch
        self.kind = kind
        self.layers = layers
        self.kernel = kernel
        self.latent = latent
        self.model = model
        self.alarms_per_week = alarms_per_week
        self.contamination = contamination
        self.interval = interval
        self.seed = seed
        self.threads = threads
        self.progress = progress

    # Learning

    def fit(self, X: Any, y: Any = None) -> "Detector":
        """Learns from data of normal operation, with new weights (or those of `model`).

        `X` is an array, a data frame, an Arrow table, a list of such (one a server), or what `read`
        takes. `y` is not looked at.
        """
        network = None if self.model is None else self._own_network(as_network(self.model))
        return self._learn(X, network, None)

    def update(self, X: Any, feedback: Any = None) -> "Detector":
        """Goes on learning from its weights, with newer data, as ``oddns update`` does: what it alarms
        itself is left out, with what is near to it, and old normal rows that it carries are learned
        again. `update_` says how many rows became what. Rows without times follow those learned last.

        `feedback` says what was anomalous, and is left out too: a mark for each row (True or 1 where it
        was, or -1 where it was and 1 where not, as `predict` has it), or a list of ``(start, end)`` or
        ``(start, end, anomalous)``, both ends included. These are numbers of rows, or times (RFC 3339,
        datetimes) where the data has times. With False it is a false alarm: what is like it raises none
        any more, as long as nothing else is said of that time. In place of True the word ``"missed"`` has
        what goes the same way raise an alarm: it wants a pattern that quiet rows do not show. Rows that are not spoken of are judged
        by the detector. An update takes 16 steps; with ``epochs=0`` the weights stay.
        """
        parent = self._fitted()
        frames = self._frames(X, learn=True, since=self._next_millis())
        spoken = said(feedback, frames)
        with shown(self.progress) as listener:
            model, told = parent.update(frames, spoken, self._options(), listener)
        self._settle(model, frames, True)
        self.update_ = told
        return self

    def _own_network(self, network: Network) -> Network:
        """Refuses a network beside sizes for another one."""
        for name in ("kind", "layers", "kernel", "latent"):
            if getattr(self, name) is not None:
                message = f"`{name}` is given beside `model`, which has its own: leave one of them out"
                raise ModelError(message)
        rows = next(iter(network.native.input_shapes), [None])[0]
        if self.window is not None and rows not in (None, self.window):
            raise ModelError(f"`window` is {self.window!r}, `model` reads {rows} rows: leave it out")
        return network

    def _next_millis(self) -> int:
        """When a row without a time comes that follows those that were learned."""
        until = self._fitted().record["until_millis"]
        return 0 if until is None else until + round(1000 * self.interval)

    def _learn(self, X: Any, network: Optional[Network], parent: Optional[Model]) -> "Detector":
        names, frames, table = self._first_frames(X)
        try:
            model = self._train(frames, network, parent)
        except TooShortError as error:
            if table is None:
                raise
            if table.n_rows == 1:
                message = "1 sample (one row) says nothing of what is normal: give more rows"
                raise TooShortError(message) from None
            message = f"{error}. They are taken forwards and backwards by turns: the line is rough"
            warnings.warn(message, ShortRecordWarning, stacklevel=3)
            mirrored = table.mirrored(error.needed)
            model = self._train([mirrored.frame(self.interval, names)], network, parent)
        _columns.remember(self, names, table)
        self._settle(model, frames)
        return self

    def _train(
        self, frames: List[Frame], network: Optional[Network], parent: Optional[Model]
    ) -> Model:
        if network is None and parent is None:
            network = self._own_architecture(len(frames[0].columns))
        native = None if network is None else network.native
        with shown(self.progress) as listener:
            return Model.fit(frames, self._options(), native, parent, listener)

    def _options(self) -> Dict[str, Any]:
        return {
            "detector": self._detector(),
            "epochs": count_or_none("epochs", self.epochs, 0),
            "batch": count("batch", self.batch, 1),
            "window": count_or_none("window", self.window, 1) or _STRETCH,
            "seed": count("seed", self.seed, 0),
            "threads": count("threads", self.threads, 1),
            "alarms_per_week": float(self.alarms_per_week),
        }

    def _settle(self, model: Model, frames: List[Frame], has_incidents: bool = False) -> None:
        """Takes the model, and draws the line of `predict`, over quiet rows alone where the data
        `has_incidents`."""
        offset = -1.0
        if self.contamination is not None:
            share = self.contamination
            if not 0.0 < share <= 0.5:
                raise ModelError(f"`contamination` is {share}: give a share above 0, at most 0.5")
            scores = numpy.concatenate([model.score(frame).scores() for frame in frames])
            if has_incidents and (scores <= 1).any():
                scores = scores[scores <= 1]
            offset = -float(numpy.percentile(scores, 100.0 * (1.0 - share)))
        self.model_ = model
        self.offset_ = offset

    def _detector(self) -> str:
        if self.kind is not None:
            return _KINDS.get(self.kind, self.kind)
        return "reconstruction" if self._has_sizes() else "masked"

    def _has_sizes(self) -> bool:
        return any(size is not None for size in (self.layers, self.kernel, self.latent))

    def _own_architecture(self, width: int) -> Optional[Network]:
        """A new network where sizes were given for one."""
        detector = self._detector()
        if detector not in _KINDS.values():
            if self._has_sizes():
                message = f"`layers`, `kernel` and `latent` are for kind '1d' and '2d', not '{detector}'"
                raise ModelError(message)
            return None
        if not self._has_sizes() and self.window is None:
            return None
        return Network.autoencoder(
            width,
            images=detector == _KINDS["2d"],
            window=self.window,
            layers=self.layers,
            kernel=self.kernel,
            latent=self.latent,
            seed=self.seed,
        )

    # Scoring

    def score(self, X: Any, y: Any = None) -> numpy.ndarray:
        """The anomaly score of each row: 1 is the alarm line, higher is odder. Of several servers
        one after the other. `y` is not looked at. A search of scikit-learn, which wants one number, is
        given a `scoring=` of `oddns.scoring`."""
        return self._scores(X).view(Scores)

    def _scores(self, X: Any) -> numpy.ndarray:
        return numpy.concatenate([scores for scores, _ in self._judged(X)])

    def score_samples(self, X: Any) -> numpy.ndarray:
        """The negative of `score`: as scikit-learn has it, higher is more normal."""
        return -self._scores(X)

    def decision_function(self, X: Any) -> numpy.ndarray:
        """`score_samples` minus `offset_`: below 0 is an outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> numpy.ndarray:
        """-1 for each row that is an outlier, 1 for each other."""
        return numpy.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(self, X: Any, y: Any = None) -> numpy.ndarray:
        """`predict` of what it was fitted on."""
        return self.fit(X).predict(X)

    def alarms(self, X: Any) -> numpy.ndarray:
        """Whether the alarm holds at each row: it begins when scores stay above the line, and ends
        when they stay below."""
        return numpy.concatenate([alarms for _, alarms in self._judged(X)])

    def incidents(self, X: Any) -> List[Dict[str, Any]]:
        """What happened, oldest first: times, peak, the features that moved, cause, next steps."""
        found = [json.loads(scored.incidents()) for _, scored in self._scored(X)]
        return sorted((one for part in found for one in part), key=lambda one: one["start"])

    def explain(self, X: Any, at: Union[None, int, Instant] = None) -> Explanation:
        """Why a row has its score: which features say so, and what may be the cause. `at` is the
        number of a row or a time (the last row not after it); the oddest row when left out."""
        scored = self._scored(X)
        if len(scored) > 1 and is_row(at):
            raise DataError("`at` is the number of a row, the data is of several servers: give a time")
        frame, one = max(scored, key=lambda pair: _score_at(pair, at))
        return Explanation.of(json.loads(one.explain(_row_at(frame, one, at))))

    def score_window(self, window: Any) -> float:
        """The score of the last row of a window of ``model_.window_rows`` rows, judged by what was
        learned alone: nothing of what came before, and no scale, structure or line that goes on
        adapting. It is what an exported ONNX graph gives."""
        return self._fitted().score_window(_table.floats(window))

    def _judged(self, X: Any) -> Iterable[Tuple[numpy.ndarray, numpy.ndarray]]:
        """Scores and alarms, piece by piece where all at once would take much memory."""
        parts = _table.parts(X)
        if parts is not None:
            return [pair for part in parts for pair in self._judged(part)]
        pieces = self._pieces(X)
        if pieces is None:
            return [(scored.scores(), scored.alarms()) for _, scored in self._scored(X)]
        follower = self._fitted().follower("")
        return [follower.push(piece) for piece in pieces]

    def _pieces(self, X: Any) -> Optional[Iterable[Frame]]:
        """The rows of a large table in pieces; None for any other data."""
        self._fitted()
        if isinstance(X, Frame) or _table.is_url(X):
            return None
        if _table.is_source(X):
            return _oddns.pieces(X) if _table.is_large_file(X) else None
        table = _table.table(X)
        if table.n_rows * table.width <= _table.MOST_SCORED:
            return None
        return table.frames(self.interval, _columns.check(self, table))

    def _scored(self, X: Any) -> List[Tuple[Frame, Scored]]:
        model = self._fitted()
        return [(frame, model.score(frame)) for frame in self._frames(X)]

    # Files

    def save(self, path: Union[str, os.PathLike]) -> None:
        """Writes one ``.keras`` file, whole or not at all. Keras opens it. The parameters are part of
        it but for `model`, `threads` and `progress`."""
        write_whole(path, self._fitted().encode(_parameters.written(self)))

    @classmethod
    def load(cls, path: Union[str, os.PathLike]) -> "Detector":
        """Reads what `save`, or ``oddns train``, wrote: the parameters are those of then."""
        content = read_model(path)
        detector = cls()._take(Model.decode(content))
        text = Model.parameters(content)
        for name, value in ({} if text is None else _parameters.read(text)).items():
            setattr(detector, name, value)
        return detector

    def export_onnx(self, path: Union[str, os.PathLike]) -> None:
        """Writes an ONNX graph (opset 17) from a window of raw rows to the score of its last row, as
        `score_window` gives it."""
        write_whole(path, self._fitted().onnx())

    def export_safetensors(self, path: Union[str, os.PathLike]) -> None:
        """Writes the weights of the network alone."""
        network = self.network
        if network is None:
            raise ModelError(f"a detector of kind `{self.model_.kind}` has no network to export")
        network.export_safetensors(path)

    @property
    def network(self) -> Optional[Network]:
        """The network that was trained; None for a detector without one."""
        native = self._fitted().network
        return None if native is None else Network(native)

    def summary(self, print_fn: Any = print) -> None:
        """Prints the layers as Keras does, and what was learned."""
        model = self._fitted()
        network = self.network
        if network is not None:
            network.summary(print_fn)
        record = model.record
        print_fn(
            f"Detector of kind `{model.kind}`: {len(model.columns)} features, learned from "
            f"{record['rows']} rows {record['interval_seconds']:g} s apart, line for "
            f"{record['alarms_per_week']:g} false alarm(s) a week"
        )

    # The names of the RFC

    def import_weights(self, path: Union[str, os.PathLike, Any]) -> "Detector":
        """Takes the weights of a file. One of ours scores at once, and `train` goes on from it; any
        other network is there for `train` to go on from."""
        content = read_model(path) if isinstance(path, (str, os.PathLike)) else None
        if content is not None and content.startswith(b"PK") and Model.is_model(content):
            self._take(Model.decode(content))
            text = Model.parameters(content)
            saved = {} if text is None else _parameters.read(text)
            for name in _parameters.ARCHITECTURE:
                setattr(self, name, saved.get(name, getattr(self, name)))
            return self
        self._forget()
        self.imported_ = as_network(path)
        return self

    def initialize_new_weights(self) -> "Detector":
        """Forgets what was learned: the next `train` begins with new weights."""
        self._forget()
        return self

    def train(
        self, number_of_iterations: Optional[int], batch_size: Optional[int], data: Any
    ) -> "Detector":
        """Trains for so many passes over the data, from the present weights where there are some; of all
        rows, where `update` leaves out what is odd.
        What is None is as the parameters of the class say."""
        before = {name: getattr(self, name) for name in ("epochs", "batch")}
        try:
            self.epochs = self.epochs if number_of_iterations is None else number_of_iterations
            self.batch = self.batch if batch_size is None else batch_size
            parent = getattr(self, "model_", None)
            network = getattr(self, "imported_", None)
            if parent is None and network is None:
                return self.fit(data)
            return self._learn(data, network, parent)
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def _forget(self) -> None:
        learned = ("model_", "imported_", "offset_", "update_", "n_features_in_", "feature_names_in_")
        for name in learned:
            self.__dict__.pop(name, None)

    def _take(self, model: Model) -> "Detector":
        self._forget()
        self.model_ = model
        self.offset_ = -1.0
        columns = model.columns
        self.n_features_in_ = len(columns)
        if columns != _table.numbered(len(columns)):
            self.feature_names_in_ = numpy.array(columns, dtype=object)
        self.kind = None if model.kind == "masked" else model.kind
        record = model.record
        self.alarms_per_week = record["alarms_per_week"]
        self.seed = record["seed"]
        if numpy.isfinite(record["interval_seconds"]):
            self.interval = record["interval_seconds"]
        return self

    # Data

    def _first_frames(self, X: Any) -> Tuple[List[str], List[Frame], Optional[_table.Table]]:
        """Frames to learn from, and the table that was given where it was one."""
        if isinstance(X, Frame) or _table.is_source(X) or _table.parts(X) is not None:
            frames = self._frames(X, first=True, learn=True)
            return frames[0].columns, frames, None
        table = _table.table(X)
        _columns.check_size(table)
        names = table.names or _table.numbered(table.width)
        return names, [table.frame_to_learn(self.interval)], table

    def _frames(
        self, X: Any, first: bool = False, learn: bool = False, since: int = 0
    ) -> List[Frame]:
        """Frames of any data; all but the `first` have to have the columns that were learned. Rows
        without times come from `since` milliseconds on."""
        if isinstance(X, Frame):
            return [X]
        if _table.is_source(X):
            return _table.read(X, learn=learn)
        parts = _table.parts(X)
        if parts is not None:
            return [frame for part in parts for frame in self._frames(part, first, learn, since)]
        table = _table.table(X)
        _columns.check_size(table)
        names = None if first else _columns.check(self, table)
        frame = table.frame_to_learn if learn else table.frame
        return [frame(self.interval, names, since)]

    def _fitted(self) -> Model:
        model = getattr(self, "model_", None)
        if model is None:
            raise not_fitted(type(self).__name__)
        return model

    # The conventions of scikit-learn, which need not be installed

    @classmethod
    def _parameters(cls) -> Dict[str, inspect.Parameter]:
        found = inspect.signature(cls.__init__).parameters
        return {name: parameter for name, parameter in found.items() if name != "self"}

    def get_params(self, deep: bool = True) -> Dict[str, Any]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in sorted(self._parameters())}

    def set_params(self, **params: Any) -> "Detector":
        """Sets parameters by name."""
        known = self._parameters()
        for name, value in params.items():
            if name not in known:
                message = f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: "
                raise ModelError(message + f"{sorted(known)!r}.")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="outlier_detector",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(allow_nan=True),
        )

    def __repr__(self) -> str:
        parameters = self._parameters().items()
        values = [(name, getattr(self, name), p.default) for name, p in parameters]
        changed = [f"{name}={value!r}" for name, value, default in values if value is not default]
        return f"{type(self).__name__}({', '.join(changed)})"


def _score_at(pair: Tuple[Frame, Scored], at: Union[None, int, Instant]) -> float:
    frame, scored = pair
    return float(scored.scores()[_row_at(frame, scored, at)])


def _row_at(frame: Frame, scored: Scored, at: Union[None, int, Instant]) -> int:
    if at is None:
        return int(numpy.argmax(scored.scores()))
    if is_row(at):
        n_rows = len(frame)
        if not -n_rows <= at < n_rows:
            raise DataError(f"there is no row {at}: the data has {n_rows}")
        return int(at) % n_rows
    time = instant(at)
    if not frame.timed:
        raise DataError(f"the data has no times, `at` {at} is one: give the number of a row")
    row = int(numpy.searchsorted(frame.timestamps(), time, side="right")) - 1
    if row < 0:
        raise DataError(f"`at` {at} is before the first row")
    return row
