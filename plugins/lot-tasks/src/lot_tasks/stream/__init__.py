"""Language modeling on documents at scale: files and hub datasets, tokenized once into mapped indexes."""
