"""Tasks and datasets for LOT; they register through `lot_tasks.plugin`."""
