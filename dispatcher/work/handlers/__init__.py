"""What runs can do: one module for each handler."""
