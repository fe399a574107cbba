"""Run, study and sweep files as JSON Schemas, for editors. Imports no torch."""
