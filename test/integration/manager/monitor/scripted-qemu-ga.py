"""Listens as QEMU's chardev does, one client at a time and the next in the backlog, and behaves as the file MODE says.

    scripted-qemu-ga.py SOCKET MODE

Answers as qemu-ga does, unless the file has another word.
"""
import json
import socket
import sys

path, mode_file = sys.argv[1:]


def attend(client):
    half_said = b""
    while piece := client.recv(65536):
        # 0xFF ends what was half said.
        *_, half_said = (half_said + piece).split(b"\xff")
        while b"\n" in half_said:
            line, half_said = half_said.split(b"\n", 1)
            with open(mode_file) as file:
                mode = file.read()
            number = json.loads(line)["arguments"]["id"]
            if not behave(client, mode, b"\xff" + json.dumps({"return": number}).encode() + b"\n"):
                return


def behave(client, mode, answer):
    if mode == "answers":
        client.sendall(answer)
    elif mode == "answers after old words":
        client.sendall(b'"return": "' + b"A" * 100_000 + b'"}\n{"return": {}}\n\xff{"return": 1}\n' + answer)
    elif mode == "answers in pieces":
        for byte in answer:
            client.sendall(bytes([byte]))
    elif mode == "answers somebody else":
        client.sendall(b'\xff{"return": 1}\n{"return": {}}\n')
    elif mode == "closes":
        return False
    elif mode == "speaks for ever":
        while True:
            client.sendall(b"\xff{" * 32768)
    return True


with socket.socket(socket.AF_UNIX) as server:
    server.bind(path)
    server.listen(5)
    print("listening", flush=True)
    while True:
        client, _ = server.accept()
        with client:
            try:
                attend(client)
            except OSError:
                pass
