"""A finished run, questioned: measured on any checkpoint and data, looked at by any diagnostic."""
