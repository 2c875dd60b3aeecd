"""Cron for Kafka: exactly one committed record for every planned fire of one schedule file."""
