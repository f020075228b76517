"""A corpus to batches of denoising: noisy text in, the original out."""
