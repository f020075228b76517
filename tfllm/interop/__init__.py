"""Published layouts: what other libraries wrote, read and written here."""
