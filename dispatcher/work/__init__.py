"""Kafka → handler → event: what is fired gets run, tried again, or given up with a reason."""
