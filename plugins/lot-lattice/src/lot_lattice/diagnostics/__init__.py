"""Measurements and pictures of oscillators, one module per component, and what their pictures share."""
