#!/usr/bin/env python3
"""JA3 and JA4 of the first TLS ClientHello to an address (stdlib only).

Usage: fingerprints.py CAPTURE SERVER_ADDRESS   -> prints "JA3 JA4"

The ClientHello is taken from the raw TCP payload which tshark prints, so the
values do not depend on what tshark itself knows about fingerprints.
"""
import hashlib
import struct
import subprocess
import sys


def u16(data, at):
    return struct.unpack_from("!H", data, at)[0]


def grease(value):
    return value & 0x0F0F == 0x0A0A and value >> 8 == value & 0xFF


def u16_list(data):
    return [u16(data, at) for at in range(0, len(data) - 1, 2)]


def main():
    capture, server = sys.argv[1:3]
    out = subprocess.run(
        ["tshark", "-n", "-r", capture, "-c", "200000", "-T", "fields", "-e", "tcp.payload",
         "-Y", "tls.handshake.type == 1 && ip.dst == " + server],
        check=True, capture_output=True, text=True).stdout.split()
    record = bytes.fromhex(out[0].replace(":", ""))
    hello = record[9:]  # 5 bytes record header, 4 bytes handshake header
    version, at = u16(hello, 0), 34
    at += 1 + hello[at]
    length = u16(hello, at)
    ciphers = [c for c in u16_list(hello[at + 2:at + 2 + length]) if not grease(c)]
    at += 2 + length
    at += 1 + hello[at]
    end, at = at + 2 + u16(hello, at), at + 2
    extensions, groups, formats, signatures, versions, alpn, sni = [], [], [], [], [], b"", False
    while at + 4 <= end:
        kind, length = u16(hello, at), u16(hello, at + 2)
        body, at = hello[at + 4:at + 4 + length], at + 4 + length
        if grease(kind):
            continue
        extensions.append(kind)
        if kind == 0:
            sni = True
        elif kind == 10:
            groups = [g for g in u16_list(body[2:]) if not grease(g)]
        elif kind == 11:
            formats = list(body[1:])
        elif kind == 13:
            signatures = u16_list(body[2:])
        elif kind == 16:
            alpn = body[3:3 + body[2]]
        elif kind == 43:
            versions = [v for v in u16_list(body[1:]) if not grease(v)]
    text = ",".join("-".join(map(str, part)) for part in
                    ([version], ciphers, extensions, groups, formats))
    ja3 = hashlib.md5(text.encode()).hexdigest()
    newest = max(versions) if versions else version
    name = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3"}.get(newest, "00")
    letters = chr(alpn[0]) + chr(alpn[-1]) if alpn else "00"

    def short(value):
        return hashlib.sha256(value.encode()).hexdigest()[:12] if value else "0" * 12

    cipher_text = ",".join(sorted("%04x" % c for c in ciphers))
    extension_text = ",".join(sorted("%04x" % e for e in extensions if e not in (0, 16)))
    if extension_text and signatures:
        extension_text += "_" + ",".join("%04x" % s for s in signatures)
    print(ja3, "t%s%s%02d%02d%s_%s_%s" % (
        name, "d" if sni else "i", min(len(ciphers), 99), min(len(extensions), 99), letters,
        short(cipher_text), short(extension_text)))


main()
