"""What the components of a run can tell of their options without torch. Imports no torch itself."""

from __future__ import annotations

from lot.config.schema import SINGLE, Config
from lot.errors import BadInput


def check_options(config: Config) -> None:
    """Ask every component that has a `check`. Raises BadInput with the path of the option that cannot work here and now."""
    chosen = {section: one for section in SINGLE if (one := getattr(config, section)) is not None}
    chosen |= {f"attn.layers.{layer}": attention for layer, attention in config.attn_layers.items()}
    chosen |= {f"mlp.layers.{layer}": mlp for layer, mlp in config.mlp_layers.items()}
    chosen |= {f"losses.{name}": loss for name, loss in config.losses.items()}
    chosen |= {f"diagnostics.{name}": diagnostic for name, diagnostic in config.diagnostics.items()}
    chosen |= {f"recorders.{name}": recorder for name, recorder in config.recorders.items()}
    for path, one in chosen.items():
        try:
            one.component.check_options(one.options)
        except BadInput as error:
            raise error.under(path) from None
