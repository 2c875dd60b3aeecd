"""A package with handlers of its own, as somebody would write one beside the dispatcher."""
