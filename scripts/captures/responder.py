#!/usr/bin/env python3
"""A tiny monitoring agent for many hosts at once (stdlib only).

Usage: responder.py PORT NETNS...

Opens one TCP listener per network namespace (a socket stays in the namespace
in which it was made) and answers every HTTP request with a line of metrics.
"""
import ctypes
import os
import selectors
import socket
import sys

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def enter(name):
    fd = os.open("/run/netns/" + name, os.O_RDONLY)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns " + name)
    os.close(fd)


def main():
    port = int(sys.argv[1])
    selector = selectors.DefaultSelector()
    for name in sys.argv[2:]:
        enter(name)
        listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        listener.listen(16)
        selector.register(listener, selectors.EVENT_READ, "listener")
    body = b"up 1\nload1 0.08\n"
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    ) + body
    while True:
        for key, _ in selector.select():
            if key.data == "listener":
                connection, _ = key.fileobj.accept()
                selector.register(connection, selectors.EVENT_READ, "connection")
                continue
            try:
                if key.fileobj.recv(4096):
                    key.fileobj.sendall(answer)
            except OSError:
                pass
            selector.unregister(key.fileobj)
            key.fileobj.close()


main()
