# What the image's own programs do with KAFKA_OPTS, KAFKA_HEAP_OPTS and KAFKA_<PROPERTY>.
java_with() {
    exec java ${KAFKA_HEAP_OPTS:-} ${KAFKA_OPTS:-} -Dlog4j2.configurationFile=/opt/kafka/log4j2.properties \
        -cp '/opt/kafka/libs/*' "$@"
}

serve() {
    env | sed -n 's/^KAFKA_//p' | grep -v -E '^(OPTS|HEAP_OPTS)=' | while IFS='=' read -r name value; do
        echo "$(echo "$name" | tr 'A-Z_' 'a-z.')=$value"
    done >/tmp/server.properties
    (java_with kafka.tools.StorageTool format --ignore-formatted -t "$CLUSTER_ID" -c /tmp/server.properties)
    java_with kafka.Kafka /tmp/server.properties
}
