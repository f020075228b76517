"""Reads tables: CSV, TSV, JSON lines, plain text, CoNLL and tfds."""
