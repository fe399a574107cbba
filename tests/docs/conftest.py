"""Lets the tests of the site import its Sphinx extension, which is no installed package."""

from __future__ import annotations

import sys

from support import ROOT

sys.path.insert(0, str(ROOT / "docs" / "_ext"))
