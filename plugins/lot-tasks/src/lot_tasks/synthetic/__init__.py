"""Tasks whose data are drawn from the seed."""
