"""Language modelling on texts: corpora, tokenizers, token caches, windows."""
