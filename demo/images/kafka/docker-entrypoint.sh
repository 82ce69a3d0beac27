#!/bin/bash
# Settings from the environment, storage formatted once, then the broker as process 1.
set -euo pipefail
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
classpath='/opt/kafka/libs/*'

# On storage that an earlier start has formatted the wrapper writes the settings, then fails saying so.
said=$(java -Xshare:auto -XX:TieredStopAtLevel=1 -cp "$classpath" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
    grep -qi 'already formatted' <<<"$said" || { echo "$said" >&2; exit 1; }

read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}"
read -ra tuning <<<"${KAFKA_JVM_PERFORMANCE_OPTS:--server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true}"
read -ra more <<<"${KAFKA_OPTS:-}"
exec java "${heap[@]}" "${tuning[@]}" "${more[@]}" -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml \
    -cp "$classpath" kafka.Kafka /opt/kafka/config/server.properties
