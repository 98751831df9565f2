"""Command-line jobs: thin. Only they read argv and the environment."""
