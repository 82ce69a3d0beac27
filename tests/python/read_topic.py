"""Reads a topic with a client that others wrote: Confluent's consumer and Avro deserialiser.

usage: read_topic.py BROKERS REGISTRY TOPIC COUNT

Prints one JSON line for each record: key, headers, partition, offset and the decoded value.
Exits with 1 when COUNT records have not come within 30 seconds.
"""

import json
import sys
import time

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def main() -> int:
    brokers, registry, topic, count = sys.argv[1:]
    decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": f"inspect-{topic}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    missing, deadline = int(count), time.monotonic() + 30
    while missing and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None or message.error():
            continue
        context = SerializationContext(topic, MessageField.VALUE)
        record = {
            "key": message.key().decode(),
            "headers": {name: value.decode() for name, value in message.headers()},
            "partition": message.partition(),
            "offset": message.offset(),
            "value": decode(message.value(), context),
        }
        print(json.dumps(record, default=str), flush=True)
        missing -= 1
    consumer.close()
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
