"""Raw text to training batches: corpus, readers, masking, packing, pipeline."""
