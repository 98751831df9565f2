"""The stages on Ray: the only package that imports it. Domain classes stay plain; thin shells make them actors."""
