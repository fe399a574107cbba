"""An option of a component: declared, described, validated. Imports no torch."""
