"""Running text as one long stream of token ids."""
