#!/bin/sh
# Grants each user of compose.secure.yaml what its role needs and no more: what `dispatcher rights` prints, for the
# prefix `dispatcher`. Topics that jobs name themselves need theirs beside these. Kafka's UI comes as a reader.
set -eu

grant() {
  user=$1
  shift
  /opt/kafka/bin/kafka-acls.sh --bootstrap-server kafka:9092 --command-config /etc/kafka/secrets/client.properties \
    --add --allow-principal "User:$user" "$@" >/dev/null
}

# setup
grant setup --operation Create --operation Describe --operation AlterConfigs --topic dispatcher. --resource-pattern-type prefixed

# dispatcher
grant dispatcher --operation Read --operation Write --operation DescribeConfigs --topic dispatcher.ledger
grant dispatcher --operation Read --operation Write --operation DescribeConfigs --topic dispatcher.events
grant dispatcher --operation Read --operation Write --operation DescribeConfigs --topic dispatcher.jobs. --resource-pattern-type prefixed
grant dispatcher --operation Read --operation DescribeConfigs --topic dispatcher.commands
grant dispatcher --operation Read --operation DescribeConfigs --topic dispatcher.shards
grant dispatcher --operation Describe --operation DescribeConfigs --topic dispatcher.dead
grant dispatcher --operation Read --group dispatcher.dispatchers
grant dispatcher --operation Describe --group dispatcher.unused
grant dispatcher --operation Write --transactional-id dispatcher-shard- --resource-pattern-type prefixed

# worker
grant worker --operation Read --operation DescribeConfigs --topic dispatcher.jobs. --resource-pattern-type prefixed
grant worker --operation Write --operation DescribeConfigs --topic dispatcher.events
grant worker --operation Read --operation Write --operation DescribeConfigs --topic dispatcher.commands
grant worker --operation Write --operation DescribeConfigs --topic dispatcher.dead
grant worker --operation Read --group dispatcher.workers
grant worker --operation Describe --group dispatcher.unused
grant worker --operation Write --transactional-id dispatcher-work- --resource-pattern-type prefixed

# reader
grant ui --operation Read --operation DescribeConfigs --topic dispatcher.jobs. --resource-pattern-type prefixed
grant ui --operation Read --operation DescribeConfigs --topic dispatcher.events
grant ui --operation Read --operation DescribeConfigs --topic dispatcher.ledger
grant ui --operation Read --operation DescribeConfigs --topic dispatcher.commands
grant ui --operation Read --operation DescribeConfigs --topic dispatcher.dead
grant ui --operation Describe --operation DescribeConfigs --topic dispatcher.shards
grant ui --operation Describe --group dispatcher.dispatchers
grant ui --operation Describe --group dispatcher.workers
grant ui --operation Describe --group dispatcher.unused

# what the UI shows beside that
grant ui --operation Describe --operation DescribeConfigs --cluster

echo "rights: granted"
