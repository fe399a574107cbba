"""Small made-up models, batches and signals that checks are made with."""
