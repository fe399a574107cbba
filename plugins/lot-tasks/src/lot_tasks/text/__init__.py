"""Language modeling on texts: corpora, tokenizers, token caches, windows."""
