"""Text operations in the graph of an export."""
