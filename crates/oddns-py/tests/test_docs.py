"""The page for Python users: its blocks run, and print what the page says, numbers aside."""

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


def words(text):
    return [re.sub(r"[\d.,]+", "#", line).split() for line in text.strip().splitlines()]


@pytest.mark.skipif(not PAGE.is_file(), reason="not in a checkout")
def test_the_page_is_true(tmp_path):
    shutil.copytree(DATA / "coredns-normal", tmp_path / "recording")
    shutil.copytree(DATA / "coredns-faults", tmp_path / "faults")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names, printed, ran = {}, "", 0
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for kind, content in blocks:
            if kind == "python":
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    exec(compile(content, str(PAGE), "exec"), names)
                printed, ran = out.getvalue(), ran + 1
            elif kind == "text":
                told = words(content)
                assert told == words(printed)[: len(told)], printed
    finally:
        os.chdir(before)
    assert ran >= 6
