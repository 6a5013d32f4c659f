#!/usr/bin/python3
"""Keeps a table of VMs and a table of what they say of themselves, in SQLite.

A command sink of vmmessaged runs it for each event, which it reads from its standard input (CloudEvents).
Usage: update-inventory.py DATABASE

An event may come twice or late. So each row has the `sequence` of the event that it is from, and an older event never replaces
a newer one: doing the same twice does it once. What is gone stays, marked so, for the same reason, and because somebody will ask
what there was. A VM that comes back a month later is counted from one again: then the time tells what is newer.
"""

import json
import os
import sqlite3
import sys

LOCK_SECONDS = 20

TABLES = """
CREATE TABLE IF NOT EXISTS vms (
  uuid TEXT PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, state TEXT NOT NULL, since TEXT NOT NULL, sequence INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (
  uuid TEXT NOT NULL, key TEXT NOT NULL, value TEXT, since TEXT NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (uuid, key)
);
"""

# :name and not text put together: names, keys and values are others' words.
STATE = """
INSERT INTO vms VALUES (:uuid, :name, :host, :state, :time, :sequence)
ON CONFLICT (uuid) DO UPDATE SET name = :name, host = :host, state = :state, since = :time, sequence = :sequence
WHERE :sequence >= sequence OR :time > since
"""
FACT = """
INSERT INTO facts VALUES (:uuid, :key, :value, :time, :sequence)
ON CONFLICT (uuid, key) DO UPDATE SET value = :value, since = :time, sequence = :sequence
WHERE :sequence >= sequence OR :time > since
"""


def follow(event, database):
    type, data = event["type"].removeprefix("org.vmmessage."), event["data"]
    # The manager's own events are of no VM.
    if data["resourceType"] != "VirtualMachine":
        return
    row = {
        "uuid": event["subject"],
        "name": data["resourceName"],
        "host": event["source"].split("/")[2],
        "time": event["time"],
        "sequence": int(event["sequence"]),
    }
    if type.startswith("KEY."):
        # No value: it was deleted, or it is a secret or no text.
        database.execute(FACT, {**row, "key": data["key"], "value": data.get("value")})
    elif data["category"] == "ResourceStateEvent" and type.startswith("VM."):
        # One that was just found has no state yet, and one that is undefined none any more.
        database.execute(STATE, {**row, "state": data.get("newState", type.removeprefix("VM.").capitalize())})


def main():
    os.umask(0o027)
    try:
        with sqlite3.connect(sys.argv[1], timeout=LOCK_SECONDS) as database:
            database.executescript(TABLES)
            follow(json.load(sys.stdin), database)
    except sqlite3.OperationalError as error:
        print(f"{sys.argv[1]}: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
