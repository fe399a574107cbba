"""A trained model as a file for other programs: written, and compared with the model in a process without LOT."""
