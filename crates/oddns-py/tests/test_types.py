"""The type stubs are those of the native module, and the classes around it are checked by them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import oddns

PACKAGE = Path(oddns.__file__).parent
USE = """
import numpy
from oddns import Detector, Network

rows = numpy.zeros((200, 3))
detector: Detector = Detector(epochs=1, layers=[8, 4]).fit(rows)
scores: numpy.ndarray = detector.score(rows)
why: str = str(detector.explain(rows, at=5))
network: Network = Network.load("m.keras").fit(rows, rows, epochs=2)
detector.fit(rows, epochs=3)
"""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not installed"
)


def run(*arguments, folder):
    # Other packages need no types of their own.
    (folder / "mypy.ini").write_text("[mypy]\nignore_missing_imports = True\n")
    folders = {name: str(PACKAGE.parent) for name in ("MYPYPATH", "PYTHONPATH")}
    environment = {**os.environ, **folders}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)


def test_stubs_are_what_the_module_is(tmp_path):
    # Which native classes cannot be bases together is no part of what a user sees.
    options = ["--ignore-disjoint-bases", "--mypy-config-file", "mypy.ini"]
    told = run("mypy.stubtest", "oddns._oddns", *options, folder=tmp_path)
    assert told.returncode == 0, told.stdout


def test_a_program_that_uses_the_classes_is_checked(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    told = run("mypy", "--no-incremental", "use.py", folder=tmp_path)
    assert 'Unexpected keyword argument "epochs" for "fit" of "Detector"' in told.stdout
    assert told.stdout.count("error:") == 1, told.stdout
