"""Trains vocabularies of tokenizers on a corpus."""
