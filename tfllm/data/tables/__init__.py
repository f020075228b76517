"""Files of any form to rows, and what happens to bad ones."""
