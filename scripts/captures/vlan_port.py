#!/usr/bin/env python3
"""A VLAN access port in user space (stdlib only), for kernels without 8021q.

Usage: vlan_port.py HOST_TAP BRIDGE_TAP VLAN_ID

Makes two tap devices in the current network namespace.  What the host sends
on HOST_TAP leaves on BRIDGE_TAP with an 802.1Q tag; what arrives there with
this VLAN's tag is given to the host without it.
"""
import fcntl
import os
import selectors
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000


def tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return fd


def write(fd, frame):
    try:
        os.write(fd, frame)
    except OSError:  # the other side is not up yet
        pass


def main():
    host, bridge, vlan = tap(sys.argv[1]), tap(sys.argv[2]), int(sys.argv[3])
    tag = struct.pack("!HH", 0x8100, vlan)
    selector = selectors.DefaultSelector()
    selector.register(host, selectors.EVENT_READ)
    selector.register(bridge, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            frame = os.read(key.fd, 65536)
            if key.fd == host:
                write(bridge, frame[:12] + tag + frame[12:])
            elif frame[12:14] == tag[:2] and struct.unpack("!H", frame[14:16])[0] & 0xFFF == vlan:
                write(host, frame[:12] + frame[16:])


main()
