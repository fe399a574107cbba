"""Small parts that checks are made with."""
