#!/usr/bin/env python3
"""Prints the ids of all BPF programs, maps and links, a line each. Root.

It asks for ids only. bpftool opens what it lists, and opening a program array while its owner dies leaks it (the kernel's
prog_array_map_clear takes a reference each time that the last user is gone, but its work item runs once).
"""
import ctypes
import struct

SYSCALL_BPF = 321
NEXT_ID = {"prog": 11, "map": 12, "link": 31}

libc = ctypes.CDLL(None, use_errno=True)
for kind, command in NEXT_ID.items():
    last = 0
    while True:
        # union bpf_attr: start_id, next_id, open_flags.
        attributes = ctypes.create_string_buffer(struct.pack("III", last, 0, 0))
        if libc.syscall(SYSCALL_BPF, command, attributes, 12) < 0:
            break
        last = struct.unpack_from("III", attributes)[1]
        print(kind, last)
