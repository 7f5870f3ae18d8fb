"""Measurements: ``make bench``. Figures are printed here, never asserted in tests."""
