"""Trains vocabularies on a corpus."""
