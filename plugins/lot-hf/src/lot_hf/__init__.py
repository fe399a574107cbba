"""Pretrained models for LOT, with any attention of LOT in chosen layers. Importing this package imports no torch."""
