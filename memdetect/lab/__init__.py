"""Training sets with known duplicates, and small pipelines trained on them."""
