"""The contract that every component keeps, checked by the test kit on all that this package registers."""

from __future__ import annotations

import pytest

from lot import registry
from lot.testing import KitFailure, run_checks

OWN = "lot-lattice"
FORMS = {
    "lattice": [{}, {"score": "neighbors", "substeps": 2}, {"score": "head"}, {"dynamics": "relax", "steps": 3}],
    "phase": [{"oscillators": 4}, {"oscillators": 4, "readout": "angle", "phase_noise": 0.03}],
    "hybrid": [{"inner": {"name": "lattice"}, "blend": 0.3, "phase": {"oscillators": 2}}],
    "coherence": [{}, {"mode": "center"}, {"mode": "band"}],
}
CHECKED = ("attention", "loss", "diagnostic")
KINDS = (*CHECKED, "kernel")


def components():
    return [(kind, c.name) for kind in KINDS for c in registry().components(kind) if c.distribution == OWN]


def cases():
    checked = [(kind, name) for kind, name in components() if kind in CHECKED]
    return [(kind, name, options) for kind, name in checked for options in FORMS.get(name, [{}])]


def test_everything_that_was_promised_is_registered():
    assert components() == [
        *(("attention", name) for name in ("hybrid", "lattice", "phase")),
        *(("loss", name) for name in ("coherence", "diversity", "phase_regularization", "spatial_coherence", "sync")),
        *(
            ("diagnostic", name)
            for name in (
                "coupling",
                "delimiter_wave",
                "lattice_snapshot",
                "order_parameter",
                "phase_snapshots",
            )
        ),
        ("kernel", "lattice"),
    ]


@pytest.mark.parametrize(("kind", "name", "options"), cases(), ids=str)
def test_the_kit_finds_nothing_wrong(kind, name, options):
    component = registry().get(kind, name)
    setting = {"attention": registry().get("attention", "lattice")} if kind == "diagnostic" else {}
    # Noise is drawn for the whole sequence: in training mode a prefix alone gets other numbers.
    skip = ("causal: prefix",) if "phase_noise" in options else ()
    wrong = {
        check: str(outcome)
        for check, outcome in run_checks(component, options, skip=skip, **setting)
        if isinstance(outcome, KitFailure)
    }
    assert wrong == {}
