"""Run files and study files as JSON Schemas, for editors. Imports no torch."""
