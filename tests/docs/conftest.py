"""Lets the tests of the site import its Sphinx extension and its checks, which are no installed packages."""

from __future__ import annotations

import sys
from pathlib import Path

from support import ROOT

sys.path[:0] = [str(ROOT / "docs" / "_ext"), str(Path(__file__).parent)]
