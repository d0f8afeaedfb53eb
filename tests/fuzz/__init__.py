"""Fuzzing of the core: whatever a server sends, or a caller loads, gives values or one typed error.

`python -m tests.fuzz` (or `nox -s fuzz`) runs it for as long as one likes; the ordinary suite runs
the same targets for a moment (`tests/fuzz/test_fuzz.py`).
"""
