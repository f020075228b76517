"""Records to rows: token ids, windows, and labels of tokens."""
