#!/usr/bin/python3
"""Prints the events of VMs that a queue of its own gets from the broker, each once, and says where some are missing.

The queue is durable: what happens while nobody reads it waits there. The events are CloudEvents ("format": "cloudevents"
of the manager's sink). Each has an id, the same however often it comes, and a `sequence`, which counts by one for each event of
its VM that this manager tells. A VM that moves to another host is told of by another manager, whose numbers are its own: the host
is in the event's `source`, and numbers are compared with those of the same host and VM only.

A number that was left out is an event that is missing, or one that the bindings do not select: only with bindings that
select all events of a VM is a gap a loss, and only then it is reported.
"""

import argparse
import json
import os
import pathlib
import re
import sqlite3
import sys
import time
import urllib.parse

import pika

RETRY_SECONDS = 5

# An event comes twice within minutes, or after an operator has had it delivered again.
KEPT_IDS = 100_000

# How many the broker gives us before the first is acknowledged.
PREFETCH = 20

# event-source.event-category.event-type.resource-type.resource-uuid, where the first three leave nothing out.
ALL_EVENTS_OF_A_VM = re.compile(r"#|\*\.\*\.\*\.[^.]+\.[^.]+")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("bindings", nargs="+", metavar="BINDING-KEY", help="'*.*.*.VirtualMachine.*': every event of every VM")
    parser.add_argument("--url-file", required=True, type=pathlib.Path, metavar="FILE",
                        help="it holds amqp://USER:PASSWORD@HOST/, or amqps://")
    parser.add_argument("--exchange", default="cloudstack-events")
    parser.add_argument("--queue", required=True)
    parser.add_argument("--state", required=True, metavar="FILE", help="an SQLite database, made when it is missing")
    parser.add_argument("--once", action="store_true", help="end when the queue is empty")
    return parser.parse_args()


class Memory:
    """What was seen, also by earlier runs."""

    def __init__(self, path):
        os.umask(0o077)
        self.database = sqlite3.connect(path)
        self.database.executescript(
            "CREATE TABLE IF NOT EXISTS seen (number INTEGER PRIMARY KEY AUTOINCREMENT, id UNIQUE);"
            "CREATE TABLE IF NOT EXISTS sequences (vm, host, sequence, PRIMARY KEY (vm, host));"
            "CREATE TABLE IF NOT EXISTS hosts (vm PRIMARY KEY, host);")

    def has(self, id):
        return self.database.execute("SELECT 1 FROM seen WHERE id = ?", (id,)).fetchone() is not None

    def sequence_of(self, vm, host):
        """The highest so far of what this host has told of the VM, or None."""
        row = self.database.execute("SELECT sequence FROM sequences WHERE vm = ? AND host = ?", (vm, host)).fetchone()
        return row and row[0]

    def host_of(self, vm):
        """Which told of it last, or None."""
        row = self.database.execute("SELECT host FROM hosts WHERE vm = ?", (vm,)).fetchone()
        return row and row[0]

    def note(self, id, vm, host, sequence):
        with self.database:
            self.database.execute("INSERT INTO seen (id) VALUES (?)", (id,))
            self.database.execute("DELETE FROM seen WHERE number <= (SELECT max(number) FROM seen) - ?", (KEPT_IDS,))
            self.database.execute(
                "INSERT INTO sequences VALUES (?, ?, ?)"
                " ON CONFLICT (vm, host) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
                (vm, host, sequence))
            self.database.execute("INSERT OR REPLACE INTO hosts VALUES (?, ?)", (vm, host))


def host_in(source):
    """`//hv1.example.com/management-server` or `//hv1.example.com/guest`: both are numbered by the manager of that host."""
    return urllib.parse.unquote(urllib.parse.urlsplit(source).netloc)


def gap(last, sequence):
    """Says which numbers are missing before this one, or None. The first one that is ever seen may have any."""
    if last is None or sequence <= last + 1:
        return None
    return f"{last + 1} is missing" if sequence == last + 2 else f"{last + 1} to {sequence - 1} are missing"


def line(name, sequence, event, is_late):
    data = event["data"]
    what = data.get("newState", data.get("key"))
    # A key is a guest's word: repr() leaves nothing in it that a terminal would obey.
    parts = [f"{name}:", str(sequence), event["type"].removeprefix("org.vmmessage."), what and repr(what), is_late and "(late)"]
    return " ".join(part for part in parts if part)


def handle(event, memory, reports_gaps):
    if memory.has(event["id"]):
        return
    vm, host, sequence = event.get("subject", ""), host_in(event["source"]), int(event["sequence"])
    name = event["data"].get("resourceName", "the manager")
    if vm != "" and memory.host_of(vm) not in (None, host):
        print(f"{name}: now told of by {host}, with numbers of its own")
    last = memory.sequence_of(vm, host)
    missing = gap(last, sequence) if reports_gaps else None
    if missing is not None:
        print(f"{name}: {missing}")
    print(line(name, sequence, event, is_late=last is not None and sequence <= last), flush=True)
    # Whoever is killed before this line does the work above again: what must not be done twice belongs into this
    # transaction, or has to be harmless the second time.
    memory.note(event["id"], vm, host, sequence)


def take(channel, delivery, body, memory, reports_gaps):
    try:
        event = json.loads(body)
        handle(event, memory, reports_gaps)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"not an event: {error!r}", file=sys.stderr)
    # Not before: what is not acknowledged comes again when this program has ended.
    channel.basic_ack(delivery.delivery_tag)


def consume(options, memory):
    """Returns when the queue is empty and that is the end."""
    reports_gaps = all(ALL_EVENTS_OF_A_VM.fullmatch(key) for key in options.bindings)
    parameters = pika.URLParameters(options.url_file.read_text().strip())
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare(options.queue, durable=True)
        for key in options.bindings:
            channel.queue_bind(options.queue, options.exchange, key)
        channel.basic_qos(prefetch_count=PREFETCH)
        idle_seconds = 1 if options.once else None
        for delivery, _properties, body in channel.consume(options.queue, inactivity_timeout=idle_seconds):
            if delivery is None:
                channel.cancel()
                return
            take(channel, delivery, body, memory, reports_gaps)


def main():
    options = arguments()
    memory = Memory(options.state)
    while True:
        try:
            consume(options, memory)
            return
        except (pika.exceptions.AMQPError, OSError) as error:
            print(f"{error!r}; again in {RETRY_SECONDS} s", file=sys.stderr)
            if options.once:
                sys.exit(os.EX_TEMPFAIL)
        time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
