"""Seeds of the fuzz targets that are binary: frames, and a device tree without the room behind it.

fuzz_seeds.py CORPUS [TREE]
"""

import pathlib
import struct
import sys

PEER = bytes([2, 0, 0, 0, 0, 2])
OURS = bytes([2, 0, 0, 0, 0, 1])
ADDRESSES = bytes([10, 0, 0, 2, 10, 0, 0, 1])


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(protocol, payload):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + ADDRESSES
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return OURS + PEER + b"\x08\x00" + head + payload


def tcp(port, flags, sequence, acknowledged, data=b""):
    head = struct.pack(">HHIIBBHHH", 40000, port, sequence, acknowledged, 0x50, flags, 8192, 0, 0)
    return ipv4(6, head + data)


def behind_length(frames):
    return b"".join(struct.pack("<HB", len(frame), 1) + frame for frame in frames)


def main():
    corpus = pathlib.Path(sys.argv[1])
    arp = b"\xff" * 6 + PEER + bytes.fromhex("0806000108000604" "0001") + PEER + ADDRESSES[:4] + bytes(6)
    echo = struct.pack(">BBHHH", 8, 0, 0, 1, 1) + b"payload!"
    echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
    frames = [arp + ADDRESSES[4:], ipv4(1, echo)]
    for port, data in ((6379, b"PING\r\n"), (9100, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")):
        frames += [tcp(port, 2, 1, 0), tcp(port, 16, 2, 1, data), tcp(port, 4, 2, 1)]
    (corpus / "frame" / "seed").write_bytes(behind_length(frames))
    if len(sys.argv) > 2:
        tree = bytearray(pathlib.Path(sys.argv[2]).read_bytes())
        strings_at, strings_bytes = (struct.unpack_from(">I", tree, at)[0] for at in (12, 32))
        end = strings_at + strings_bytes
        struct.pack_into(">I", tree, 4, end)
        (corpus / "device_tree" / "seed").write_bytes(tree[:end])


main()
