"""Networks of stock Keras layers, with or without a detector around them."""

from __future__ import annotations

import os
import tempfile
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy

from . import _oddns
from ._errors import DataError, ModelError
from ._file import read_model, write_whole
from ._setting import count, count_or_none
from ._progress import Listener, shown


class Network:
    """A network of stock Keras layers with its weights, run and trained in Rust.

    `load` reads one that Keras saved, or an ONNX graph; `autoencoder` makes a new one.
    """

    def __init__(self, native: _oddns.Network) -> None:
        self.native = native

    @classmethod
    def load(cls, source: Any) -> "Network":
        """From the path or the bytes of a ``.keras`` or ``.onnx`` file, or from a Keras model.
        Nothing in a file is executed; a layer that is not supported is an error that names it."""
        return as_network(source)

    @classmethod
    def autoencoder(
        cls,
        n_features: int,
        *,
        images: bool = False,
        window: Optional[int] = None,
        layers: Optional[Sequence[int]] = None,
        kernel: Optional[int] = None,
        latent: Optional[int] = None,
        seed: int = 1,
    ) -> "Network":
        """A new convolutional autoencoder of windows, over time or over images."""
        sizes = {
            "n_features": count("n_features", n_features, 1),
            "images": bool(images),
            "window": count_or_none("window", window, 1),
            "layers": _channels(layers),
            "kernel": count_or_none("kernel", kernel, 1),
            "latent": count_or_none("latent", latent, 1),
            "seed": count("seed", seed, 0),
        }
        return cls(_oddns.Network.autoencoder(sizes))

    def predict(self, *inputs: Any, threads: int = 2) -> Any:
        """The output for one array for each input, samples first, or for a list of these; a list where
        there are several outputs. The number of threads does not change it. 32-bit floats are read where
        they lie, overlapping windows too; what overflows 32 bits on the way is infinite or NaN."""
        threads = count("threads", threads, 1)
        several = len(self.native.input_shapes) > 1
        if several and len(inputs) == 1 and isinstance(inputs[0], (list, tuple)):
            inputs = tuple(inputs[0])
        outputs = self.native.predict(self._inputs(inputs), threads)
        return outputs[0] if len(outputs) == 1 else outputs

    def reconstruction_error(self, x: Any, *, threads: int = 2) -> numpy.ndarray:
        """The mean squared error of each sample against what the network makes of it, for networks
        that give back what they read: the higher, the odder. The number of threads does not change it."""
        threads = count("threads", threads, 1)
        return self.native.reconstruction_errors(self._inputs([x])[0], threads)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        loss: str = "mse",
        seed: int = 1,
        threads: int = 2,
        progress: Union[None, bool, Listener] = None,
    ) -> "Network":
        """Goes on training, with Adam as Keras has it. `x` is an array, or a list of one for each
        input, and is copied; `y` has the shape of the output, or one number a sample where the output is
        one, and is not copied where it is `x`. Only a network with one output is trained. 0 epochs
        change nothing. `loss_` is the mean loss of the last tenth of the steps."""
        epochs, batch_size = count("epochs", epochs, 0), count("batch_size", batch_size, 1)
        several = len(self.native.input_shapes) > 1
        inputs = self._inputs(x if several and isinstance(x, (list, tuple)) else [x])
        target = None if y is x else _floats(y)
        if target is not None and target.ndim == 1:
            target = target.reshape(-1, 1)
        samples = len(inputs[0] if target is None else target)
        if isinstance(learning_rate, bool) or not isinstance(learning_rate, (float, int, numpy.number)):
            raise ModelError(f"`learning_rate` is {learning_rate!r}: give a number such as 0.001")
        options: Dict[str, Any] = {
            "steps": epochs * -(-samples // batch_size),
            "batch_size": batch_size,
            "learning_rate": float(learning_rate),
            "loss": loss,
            "seed": count("seed", seed, 0),
            "threads": count("threads", threads, 1),
        }
        with shown(progress) as listener:
            self.native, self.loss_ = self.native.fit(inputs, target, options, listener)
        return self

    def _inputs(self, arrays: Sequence[Any]) -> List[numpy.ndarray]:
        shapes = self.native.input_shapes
        if len(arrays) != len(shapes):
            raise DataError(f"{len(arrays)} arrays for {len(shapes)} inputs: give one for each")
        inputs = [_floats(one) for one in arrays]
        for found, shape in zip(inputs, shapes):
            if found.ndim != len(shape) + 1:
                sizes = ", ".join("any" if size is None else str(size) for size in (None, *shape))
                message = f"an array of shape {found.shape}: give ({sizes}), the samples first"
                raise ModelError(message)
        return inputs

    def initialize_new_weights(self, seed: int = 1) -> "Network":
        """Random weights as Keras begins with."""
        self.native = self.native.initialised(seed)
        return self

    def weights(self) -> List[Tuple[str, numpy.ndarray]]:
        """All weights by layer and place, in Keras's order."""
        return self.native.weights()

    def save(self, path: Union[str, os.PathLike]) -> None:
        """Writes a ``.keras`` file, which Keras opens."""
        write_whole(path, self.native.encode())

    def export_onnx(self, path: Union[str, os.PathLike]) -> None:
        """Writes an ONNX graph (opset 17) of the network."""
        write_whole(path, self.native.onnx())

    def export_safetensors(self, path: Union[str, os.PathLike]) -> None:
        """Writes the weights alone, by the names of `weights`."""
        write_whole(path, self.native.safetensors())

    def summary(self, print_fn: Any = print) -> None:
        """Prints the layers as Keras does."""
        rows = [("Layer (type)", "Output Shape", "Param #", "Connected to")]
        total = 0
        for name, kind, shape, n_weights, inputs in self.native.layers():
            total += n_weights
            sizes = ", ".join("None" if size is None else str(size) for size in shape)
            rows.append((f"{name} ({kind})", f"({sizes})", f"{n_weights:,}", ", ".join(inputs)))
        widths = [max(len(row[at]) for row in rows) for at in range(4)]
        print_fn(f'Model: "{self.native.name}"')
        for at, row in enumerate(rows):
            cells = [row[0].ljust(widths[0]), row[1].ljust(widths[1]), row[2].rjust(widths[2])]
            print_fn("  ".join([*cells, row[3]]).rstrip())
            if at == 0:
                print_fn("─" * (sum(widths) + 6))
        print_fn(f"Total params: {total:,}")

    def __repr__(self) -> str:
        return f"<Network {self.native.name!r} of {len(self.native.layers())} layers>"


def as_network(source: Any) -> Network:
    """From whatever a network can be given as."""
    if isinstance(source, Network):
        return source
    if isinstance(source, bytes):
        return Network(_oddns.Network.decode(source))
    if isinstance(source, (str, os.PathLike)):
        return Network(_oddns.Network.decode(read_model(source)))
    if type(source).__module__.split(".")[0] in ("keras", "tensorflow", "tf_keras"):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            source.save(path)
            return as_network(path)
    message = f"a {type(source).__name__} is no network: give a path, a Keras model or a `Network`"
    raise ModelError(message)


def _channels(layers: Optional[Sequence[int]]) -> Optional[List[int]]:
    if layers is None:
        return None
    if isinstance(layers, (str, bytes)) or not hasattr(layers, "__iter__") or not len(layers):
        raise ModelError(f"`layers` is {layers!r}: give the channels of each layer, such as [64, 32, 16]")
    return [count("layers", one, 1) for one in layers]


def _floats(array: Any) -> numpy.ndarray:
    try:
        if numpy.ma.is_masked(array):
            raise DataError("the samples hold masked values: a network takes no gaps, fill them")
        found = numpy.asarray(array)
        if found.ndim == 0:
            message = f"the samples are no array of numbers but {array!r:.40}: give one, the samples first"
            raise DataError(message)
        if found.dtype.kind in "USMmcV":
            raise DataError(f"the samples are no array of numbers but of {found.dtype}: give numbers")
        with numpy.errstate(over="ignore"):  # an infinity, which is told of by itself
            floats = numpy.asarray(found, dtype=numpy.float32)
            # Sliding windows lie over each other, but each of them as it is read.
            in_order = len(floats) > 0 and floats.ndim > 1 and floats[0].flags.c_contiguous
            return floats if in_order else numpy.ascontiguousarray(floats)
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        message = f"the samples are no array of numbers ({error}): give as many values in each"
        raise DataError(message) from None
