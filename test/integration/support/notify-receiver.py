"""Stands in for systemd at its notify socket (argv[1]): each datagram becomes a line of JSON, a list of its variables.

Node has no datagram Unix sockets. A descriptor that comes along is the sender's barrier (sd_notify_barrier(3)): closing it
says that what came before was read.
"""

import json
import os
import socket
import sys

MAX_DATAGRAM = 65536
MAX_DESCRIPTORS = 8

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
    receiver.bind(sys.argv[1])
    print(json.dumps([]), flush=True)
    while True:
        datagram, descriptors, _, _ = socket.recv_fds(receiver, MAX_DATAGRAM, MAX_DESCRIPTORS)
        variables = datagram.decode().split("\n")
        if "BARRIER=1" not in variables:
            print(json.dumps([variable for variable in variables if variable]), flush=True)
        for descriptor in descriptors:
            os.close(descriptor)
