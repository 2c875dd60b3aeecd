"""events → views: what became of every planned fire."""
