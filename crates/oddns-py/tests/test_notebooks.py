"""The tutorials run from their first cell to their last, on recordings of real servers.

With `ODDNS_UPDATE_DOCS` what they print and draw is written into them and into `docs/img`.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import oddns

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[3]
NOTEBOOKS = ROOT / "docs" / "notebooks"
DATA = ROOT / "crates" / "oddns-cli" / "data"
PACKAGE = str(Path(oddns.__file__).parents[1])
PACKAGES = [PACKAGE, *(path for path in sys.path if path.endswith("-packages"))]
MOST_BYTES = 150_000
#: Until then the recording has eight faults.
ENOUGH = "2026-11-22T07:50:00Z"

pytestmark = pytest.mark.skipif(not NOTEBOOKS.is_dir(), reason="not in a checkout")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(DATA / "coredns-normal", tmp_path / "recording")
    shutil.copytree(DATA / "coredns-faults", tmp_path / "faults")
    for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(PACKAGES))
    return tmp_path


def run(name, folder, python=sys.executable):
    """Executes a notebook by this Python, and gives what its cells printed."""
    kernel = folder / "jupyter" / "kernels" / "tutorial"
    kernel.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "tutorial", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    path = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    work = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="tutorial", resources=work).execute()
    if os.environ.get("ODDNS_UPDATE_DOCS"):
        keep(notebook, path)
    assert path.stat().st_size < MOST_BYTES
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", [])]
    assert any("image/png" in one.get("data", {}) for one in outputs), "nothing was drawn"
    return "".join(one.get("text", "") for one in outputs)


def keep(notebook, path):
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for at, one in enumerate(cell.get("outputs", [])):
            picture = one.get("data", {}).get("image/png")
            if picture:
                image = ROOT / "docs" / "img" / f"{path.stem}.png"
                image.write_bytes(base64.b64decode(picture))
    # The same on every machine.
    notebook.metadata = {"language_info": {"name": "python"}}
    nbformat.write(notebook, path)


def test_compare_on_the_data_set(folder):
    printed = run("compare-on-the-data-set", folder)
    assert "17 faults" in printed and "masked" in printed and "sklearn forest" in printed


def test_bring_your_own_keras_model(folder, monkeypatch):
    python = Path(os.environ.get("ODDNS_PEERS", ""), "keras-3/bin/python")
    if not python.is_file():
        pytest.skip("the real Keras is not there: `cargo xtask test` installs it")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    printed = run("bring-your-own-keras-model", folder, python)
    assert "largest difference below 1e-5: True" in printed
    assert "of class `LSTM`" in printed


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def prometheus(folder):
    """A Prometheus with a recording in it."""
    command = os.environ.get("ODDNS_COMMAND", "")
    programs = [shutil.which(name) for name in ("prometheus", "promtool")]
    if not os.path.isfile(command) or not all(programs):
        pytest.skip("`prometheus`, `promtool` or the command `oddns` is not there")
    plain, text = folder / "faults.om", folder / "job.om"
    export = [command, "dataset", "export", str(folder / "faults"), "--format", "openmetrics"]
    export += ["--instance", "sut0", "--until", ENOUGH, "--out", str(plain)]
    subprocess.run(export, check=True, stdout=subprocess.DEVNULL)
    with open(plain) as read, open(text, "w") as write:
        for line in read:
            write.write(line.replace('{instance="', '{job="coredns",instance="', 1))
    blocks = [programs[1], "tsdb", "create-blocks-from", "openmetrics", str(text)]
    subprocess.run([*blocks, str(folder / "tsdb")], check=True, stdout=subprocess.DEVNULL)
    (folder / "prometheus.yml").write_text("")
    port = free_port()
    server = subprocess.Popen(
        [
            programs[0],
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--storage.tsdb.retention.time=99y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until_ready(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def until_ready(address):
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/-/ready", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("Prometheus does not answer")


def rfc3339(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def test_retrain_on_your_prometheus(folder, prometheus, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_URL", prometheus)
    described = json.loads((folder / "faults" / "dataset.json").read_text())
    times = [*(rfc3339(described[key]) for key in ("normal_from", "normal_until")), ENOUGH]
    for name, (since, until) in {"QUIET": times[:2], "LATER": times[1:]}.items():
        monkeypatch.setenv(f"{name}_SINCE", since)
        monkeypatch.setenv(f"{name}_UNTIL", until)
    printed = run("retrain-on-your-prometheus", folder)
    assert "rows of 107 features" in printed and "incidents" in printed
