"""The look that all pictures share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lot.figure import heading, literal, new_figure, smooth, spaced


def test_what_is_shown_is_spread_evenly_with_both_ends():
    assert spaced(range(12), 4) == [0, 4, 7, 11]
    assert spaced([3, 5], 4) == [3, 5]
    assert spaced([3, 5], 1) == [3]


def test_a_running_mean_does_not_look_ahead():
    assert smooth([1.0, 3.0, 5.0, 7.0], 2) == [1.0, 2.0, 4.0, 6.0]


def test_titles_stand_at_the_left_in_bold_unless_they_are_told_otherwise():
    pytest.importorskip("matplotlib")
    figure, (left, right) = new_figure(1, 2)
    left.set_title("loss")
    right.set_title("score", fontweight="normal")
    text = heading(figure, "step 7")
    assert left.get_title(loc="left") == "loss"
    assert left._left_title.get_fontweight() == "bold"
    assert right._left_title.get_fontweight() == "normal"
    assert (text.get_ha(), text.get_fontweight(), figure.get_suptitle()) == ("left", "bold", "step 7")


def test_dollars_of_others_begin_no_formula():
    pytest.importorskip("matplotlib")
    figure, (axes,) = new_figure()
    axes.set_title(literal("run $x_{ and $"))
    figure.canvas.draw()  # would raise for a formula that is none


def test_without_a_home_directory_nothing_is_said_of_the_cache_of_pictures():
    pytest.importorskip("matplotlib")
    kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CONFIG_HOME", "MPLCONFIGDIR")}
    code = "from lot.figure import new_figure\nfigure, _ = new_figure()\nfigure.canvas.draw()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**kept, "HOME": os.devnull}, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
