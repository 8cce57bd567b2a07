"""What people type: one module per noun. What is heavy is imported inside functions, so that it is quick."""
