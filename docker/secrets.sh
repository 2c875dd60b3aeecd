#!/bin/sh
# Makes what compose.secure.yaml needs, once: an authority, the broker's certificate, a password for each user.
# Usage: secrets.sh DIRECTORY, which holds one directory for each user. The authority's key does not outlive this.
set -eu
made=$1
owner=${OWNER:-65532:65532} kafka_owner=${KAFKA_OWNER:-1000:1000}
if [ -e "$made/kafka/client.properties" ]; then
  echo "secrets: made already"
  exit 0
fi
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

# shellcheck disable=SC2086 # several words
openssl req -x509 $key -days 3650 -subj "/CN=authority of kafka-cron-dispatcher" \
  -addext "keyUsage=critical,keyCertSign" -keyout "$work/authority.key" -out "$work/authority.pem" 2>/dev/null
# shellcheck disable=SC2086
openssl req $key -subj "/CN=kafka" -keyout "$work/server.key" -out "$work/server.csr" 2>/dev/null
printf 'subjectAltName=DNS:kafka,DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' >"$work/server.ext"
openssl x509 -req -in "$work/server.csr" -CA "$work/authority.pem" -CAkey "$work/authority.key" -CAcreateserial \
  -days 825 -extfile "$work/server.ext" -out "$work/server.crt" 2>/dev/null

plain=org.apache.kafka.common.security.plain.PlainLoginModule
broker=$(openssl rand -hex 24)
users="user_broker=\"$broker\""
for user in setup dispatcher worker ui; do
  password=$(openssl rand -hex 24)
  users="$users user_$user=\"$password\""
  printf '%s' "$password" >"$made/$user/kafka.sasl.password"
  cp "$work/authority.pem" "$made/$user/authority.pem"
done
cat >"$made/ui/cluster.yaml" <<END
kafka:
  clusters:
    - name: dispatcher
      bootstrapServers: kafka:9092
      readOnly: true
      properties:
        security.protocol: SASL_SSL
        sasl.mechanism: PLAIN
        sasl.jaas.config: '$plain required username="ui" password="$password";'
        ssl.truststore.type: PEM
        ssl.truststore.location: /run/secrets/authority.pem
END
chown -R "$owner" "$made/setup" "$made/dispatcher" "$made/worker" "$made/ui"

cat "$work/server.key" "$work/server.crt" >"$made/kafka/server.pem"
cp "$work/authority.pem" "$made/kafka/authority.pem"
printf 'jaas=%s required username="broker" password="%s" %s;\n' "$plain" "$broker" "$users" >"$made/kafka/users.properties"
cat >"$made/kafka/client.properties" <<END
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=$plain required username="broker" password="$broker";
ssl.truststore.type=PEM
ssl.truststore.location=/etc/kafka/secrets/authority.pem
END
chown -R "$kafka_owner" "$made/kafka"
echo "secrets: made"
