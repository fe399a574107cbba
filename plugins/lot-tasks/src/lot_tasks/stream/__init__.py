"""Language modeling on documents at scale: files and hub datasets, tokenized once into indexes that are mapped into memory."""
