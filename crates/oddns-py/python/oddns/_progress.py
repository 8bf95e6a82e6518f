"""A bar on standard error while a model is trained."""

from __future__ import annotations

import sys
from typing import Callable, Optional, Union

Listener = Callable[[int, int, float], None]
_WIDTH = 30


class _Bar:
    """Draws itself over its last line; gone when training has ended."""

    def __enter__(self) -> Listener:
        return self._draw

    def _draw(self, step: int, steps: int, loss: float) -> None:
        done = _WIDTH * step // max(steps, 1)
        bar = "█" * done + "░" * (_WIDTH - done)
        sys.stderr.write(f"\rtraining {bar} {step}/{steps} loss {loss:.3f}")
        sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


class _Told:
    """Gives progress to somebody, or to nobody."""

    def __init__(self, listener: Optional[Listener]) -> None:
        self._listener = listener

    def __enter__(self) -> Optional[Listener]:
        return self._listener

    def __exit__(self, *_: object) -> None:
        pass


def shown(progress: Union[None, bool, Listener]) -> Union[_Bar, _Told]:
    """`None`: a bar when standard error is a terminal. True and False: a bar, none. A callable is
    told step, steps and loss some times a second."""
    if callable(progress):
        return _Told(progress)
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    return _Bar() if progress else _Told(None)
