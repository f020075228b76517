"""Raw text to training batches: corpora, vocabularies, pretraining, labels."""
