"""Which way of choosing triplets learns more under an equal budget: results, statistics, report and charts."""
