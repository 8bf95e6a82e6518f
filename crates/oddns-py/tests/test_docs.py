"""The page for Python users: its blocks run, and print what the page says, to the letter.

With `ODDNS_UPDATE_DOCS` what they print is written into it.
"""

import contextlib
import io
import os
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "python.md"
DATA = ROOT / "crates" / "oddns-cli" / "data"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(text):
    """The page with what its blocks print, and how many ran."""
    names, printed, ran, parts, end = {}, "", 0, [], 0
    for block in BLOCK.finditer(text):
        kind, content = block.groups()
        parts.append(text[end : block.start(2)])
        end = block.end(2)
        if kind == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(content, str(PAGE), "exec"), names)
            printed, ran = out.getvalue(), ran + 1
        # Of what a block prints a page may show the beginning.
        n_lines = content.count("\n") or None
        shown = "".join(printed.splitlines(True)[:n_lines])
        parts.append(shown if kind == "text" else content)
    return "".join([*parts, text[end:]]), ran


@pytest.mark.skipif(not PAGE.is_file(), reason="not in a checkout")
def test_the_page_is_true(tmp_path, monkeypatch):
    shutil.copytree(DATA / "coredns-normal", tmp_path / "recording")
    shutil.copytree(DATA / "coredns-faults", tmp_path / "faults")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text()
    found, ran = run(text)
    assert ran >= 6
    if os.environ.get("ODDNS_UPDATE_DOCS"):
        PAGE.write_text(found)
    else:
        assert found == text
