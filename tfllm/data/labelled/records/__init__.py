"""Labelled files to records: texts and gold labels, not yet tokenized."""
