#!/bin/bash
# Every kafka-<tool>.sh is a link to this: the name says which class to run.
set -euo pipefail
case $(basename "$0" .sh) in
kafka-topics) class=org.apache.kafka.tools.TopicCommand ;;
kafka-configs) class=kafka.admin.ConfigCommand ;;
kafka-consumer-groups) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
kafka-storage) class=kafka.tools.StorageTool ;;
kafka-get-offsets) class=org.apache.kafka.tools.GetOffsetShell ;;
kafka-console-consumer) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
kafka-console-producer) class=org.apache.kafka.tools.ConsoleProducer ;;
kafka-producer-perf-test) class=org.apache.kafka.tools.ProducerPerformance ;;
kafka-consumer-perf-test) class=org.apache.kafka.tools.ConsumerPerformance ;;
kafka-broker-api-versions) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
kafka-metadata-quorum) class=org.apache.kafka.tools.MetadataQuorumCommand ;;
kafka-dump-log) class=kafka.tools.DumpLogSegments ;;
kafka-delete-records) class=org.apache.kafka.tools.DeleteRecordsCommand ;;
kafka-cluster) class=org.apache.kafka.tools.ClusterTool ;;
*) echo "no such tool: $0" >&2; exit 64 ;;
esac
read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx256M}"
exec java "${heap[@]}" -Dlog4j2.configurationFile=/etc/kafka/docker/tools-log4j2.yaml -cp '/opt/kafka/libs/*' "$class" "$@"
