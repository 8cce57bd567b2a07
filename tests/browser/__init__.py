"""The page in a real browser on a real daemon: what a person does there, and what they then see."""
