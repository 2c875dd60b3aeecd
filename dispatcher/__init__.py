"""Cron for Kafka: turns the entries of one schedule file into exactly one committed record per planned fire."""
