"""Examples in: sources, the stored corpus, and its readers."""
