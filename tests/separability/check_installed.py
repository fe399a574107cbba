"""Fails unless exactly the named first-party distributions are installed, as wheels, and each registers what it should.

Run inside the environment under test, with the names of the distributions as arguments.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata

OURS = {
    "lot-core": "lot",
    "lot-cli": "lot_cli",
    "lot-hf": "lot_hf",
    "lot-lattice": "lot_lattice",
    "lot-tasks": "lot_tasks",
    "lot-toroidal": "lot_toroidal",
    "lot-wave": "lot_wave",
}


def main(expected: set[str]) -> None:
    """Compare what is here with `expected`."""
    for distribution, module in OURS.items():
        spec = importlib.util.find_spec(module)
        present = spec is not None
        assert present == (distribution in expected), f"{module}: importable is {present}"
        if present:
            assert spec is not None
            assert "site-packages" in str(spec.origin), f"{module} comes from {spec.origin}, not from a wheel"
            assert metadata.version(distribution)

    import lot

    assert "torch" not in sys.modules, "importing lot imported torch"
    plugins = {plugin.distribution: plugin for plugin in lot.registry().plugins()}
    assert set(plugins) == expected - {"lot-cli"}, f"registered: {sorted(plugins)}"
    for plugin in plugins.values():
        assert plugin.failure is None, plugin.failure
        assert plugin.components, f"{plugin.distribution} registers nothing"
    assert "torch" not in sys.modules, "discovery imported torch"
    print(f"exactly {', '.join(sorted(expected))}; {sum(len(p.components) for p in plugins.values())} components")


if __name__ == "__main__":
    main(set(sys.argv[1:]))
