"""Records to rows: token ids, windows and what a task says of tokens."""
