"""The way out of a sample's networks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .outside import OUTSIDE


@pytest.mark.skipif(os.geteuid() != 0, reason="the world around the node needs root")
@pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="slirp4netns is not installed")
def test_snat_leads_out_and_to_nothing_else(tmp_path: Path) -> None:
    words = ["unshare", "--net", sys.executable, "-m", "tests.eval.outside", str(tmp_path)]
    done = subprocess.run(
        words, cwd=Path(__file__).parent.parent.parent, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == {"open": [OUTSIDE], "closed": []}
