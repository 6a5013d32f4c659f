#!/usr/bin/python3
"""Keeps a DNS zone in step with the VMs that run: one record each, with the address that the guest says it has.

A command sink of vmmessaged runs it for each event, which it reads from its standard input (CloudEvents). It also reads what
`vmmessage events --json --values` prints, for the VMs that ran before there was a sink.

An event may come twice, and one that could not be delivered for hours may come after later ones. So an event is not taken for
an order ("add this record") but for a fact: each is kept with the `sequence` and the time of the event that said it, and an
older one changes nothing. Then the name gets the records that the facts ask for, whole. Doing that twice does it once.

Exit codes: 0 the zone is as it should be, 75 (EX_TEMPFAIL) try again later.
"""

import argparse
import ipaddress
import json
import os
import re
import sqlite3
import subprocess
import sys
import syslog
import uuid

ADDRESS_KEY = "com.example.address"

TTL_SECONDS = 60
NSUPDATE_SECONDS = 10
LOCK_SECONDS = 20

# RFC 1123, section 2.1. A name of a VM may be anything, nsupdate's input is lines of words: no other name reaches it.
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--zone", required=True, help="the records are in this zone, and nothing else should be")
    parser.add_argument("--server", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--key", required=True, metavar="FILE", help="what tsig-keygen printed")
    parser.add_argument("--network", required=True, action="append", type=ipaddress.ip_network, dest="networks",
                        help="a guest may say any address: only those in here are believed; may be repeated")
    parser.add_argument("--state", required=True, metavar="FILE", help="an SQLite database, made when it is missing")
    return parser.parse_args()


def open_facts(path):
    os.umask(0o077)
    facts = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    facts.execute("CREATE TABLE IF NOT EXISTS facts (vm, what, value, sequence, time, PRIMARY KEY (vm, what))")
    return facts


def vm_of(event):
    """UUID and name: where CloudEvents have them, or where `vmmessage events --json` has them."""
    if "subject" in event:
        return str(uuid.UUID(event["subject"])), event["data"]["resourceName"]
    return str(uuid.UUID(event["resourceUUID"])), event["resourceName"]


def facts_of(event, networks):
    """What the event says of a VM, as far as it matters here."""
    type, data = event["type"].removeprefix("org.vmmessage."), event["data"]
    if type in ("VM.RUNNING", "VM.STOPPED", "VM.CRASHED"):
        return {"runs": type == "VM.RUNNING"}
    if type == "VM.UNDEFINED":
        return {"runs": False, "address": None}
    # The sink's filter has prefixes of keys: others may begin as ours does.
    if type in ("KEY.SET", "KEY.DELETED") and data["key"] == ADDRESS_KEY:
        return {"address": believed_address(data.get("value"), networks)}
    return {}


def believed_address(value, networks):
    """The address in its one usual form, or None. What a guest says of itself proves nothing."""
    if value is None:
        return None
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        address = None
    # The scope of an IPv6 address (fe80::1%...) is any text at all, line ends too.
    if address is None or getattr(address, "scope_id", None) is not None:
        warn(f"no address: {value!r}")
        return None
    if not any(address in network for network in networks):
        warn(f"no address of our networks: {address}")
        return None
    return str(address)


def remember(facts, vm, what, value, event):
    """A VM that comes back a month after it was undefined is counted from one again: then the time tells what is newer."""
    facts.execute(
        "INSERT INTO facts VALUES (?, ?, ?, ?, ?) ON CONFLICT (vm, what) DO UPDATE"
        " SET value = excluded.value, sequence = excluded.sequence, time = excluded.time"
        " WHERE excluded.sequence >= sequence OR excluded.time > time",
        (vm, what, value, int(event["sequence"]), event["time"]))


def wished_address(facts, vm):
    known = dict(facts.execute("SELECT what, value FROM facts WHERE vm = ?", (vm,)))
    return known.get("address") if known.get("runs") else None


def update_zone(options, label, address):
    """Says all that the name shall have, in one update (RFC 2136): what it had before does not matter."""
    name = f"{label}.{options.zone}."
    host, port = options.server.rsplit(":", 1)
    lines = [f"server {host} {port}", f"zone {options.zone}.", f"update delete {name} A", f"update delete {name} AAAA"]
    if address is not None:
        lines.append(f"update add {name} {TTL_SECONDS} {'AAAA' if ':' in address else 'A'} {address}")
    command = ["nsupdate", "-k", options.key, "-t", str(NSUPDATE_SECONDS)]
    subprocess.run(command, input="\n".join([*lines, "send", ""]), text=True, check=True)


def follow(event, facts, options):
    said = facts_of(event, options.networks)
    if not said:
        return
    vm, name = vm_of(event)
    if not LABEL.fullmatch(name):
        warn(f"the VM's name is no name in DNS: {name!r}")
        return
    facts.execute("BEGIN IMMEDIATE")
    try:
        for what, value in said.items():
            remember(facts, vm, what, value, event)
        update_zone(options, name.lower(), wished_address(facts, vm))
        # After the zone: an event that is cut short here comes again, and finds what it found.
        facts.execute("COMMIT")
    except BaseException:
        facts.execute("ROLLBACK")
        raise


def warn(what):
    syslog.syslog(syslog.LOG_WARNING, what)
    print(what, file=sys.stderr)


def main():
    options = arguments()
    try:
        facts = open_facts(options.state)
        for line in sys.stdin:
            follow(json.loads(line), facts, options)
    except subprocess.CalledProcessError:
        # nsupdate has said why. The event is delivered again, and later ones of the VM wait for it.
        return os.EX_TEMPFAIL
    except sqlite3.OperationalError as error:
        print(f"{options.state}: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL
    return os.EX_OK


if __name__ == "__main__":
    syslog.openlog("vmmessage-update-dns")
    sys.exit(main())
