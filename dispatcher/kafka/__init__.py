"""The only package that knows the Kafka client library."""
