"""Developer tools of the project."""
