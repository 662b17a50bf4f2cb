"""What we answer: one module for each face."""
