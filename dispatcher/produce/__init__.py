"""Plan → Kafka: one thread per shard decides, acts in one transaction, and remembers after the commit."""
