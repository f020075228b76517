"""Files to records: texts and gold labels, before any tokenizer."""
