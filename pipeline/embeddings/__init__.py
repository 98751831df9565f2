"""Embeddings: corpus x checkpoint -> N x D vectors, in parts that can never be taken for those of another model."""
