"""The pictures of the site: drawn from the components, equal in every build, with named axes."""

from __future__ import annotations

import io

import pytest
from lot_docs.pictures import PICTURES


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_axes_have_labels_and_the_caption_is_a_sentence(name: str) -> None:
    figure, caption = PICTURES[name]()
    panels = [axis for axis in figure.axes if axis.get_title(loc="left")]
    assert panels
    assert panels[-1].get_xlabel()
    assert any(axis.get_ylabel() for axis in panels)
    assert caption.endswith(".")


def test_a_picture_is_the_same_every_time() -> None:
    drawn = []
    for _ in range(2):
        buffer = io.BytesIO()
        PICTURES["phase"]()[0].savefig(buffer, format="png", metadata={"Software": ""})
        drawn.append(buffer.getvalue())
    assert drawn[0] == drawn[1]
