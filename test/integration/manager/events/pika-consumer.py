"""Binds a queue of its own for each binding key and prints, as JSON, which messages it got.

Usage: pika-consumer.py PORT EXCHANGE KEY... Prints "ready" when all are bound; ends when its input does.
"""
import json
import sys

import pika

port, exchange, *keys = sys.argv[1:]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port)))
channel = connection.channel()
queues = {}
for key in keys:
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, key)
    queues[key] = queue
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.read()

got = {}
for key, queue in queues.items():
    got[key] = []
    while True:
        method, properties, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            break
        got[key].append([properties.message_id, method.routing_key, json.loads(body)["event"]])
print(json.dumps(got))
connection.close()
