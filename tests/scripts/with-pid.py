#!/usr/bin/env python3
"""with-pid.py PID PROGRAM [ARGUMENTS]: runs the program under this process id, which must be free, and waits for its end. Root.

clone3 takes the ids that a new process is to have (set_tid), which checkpointing needs.
"""
import ctypes
import os
import struct
import sys

SYSCALL_CLONE3 = 435
SIGCHLD = 17

wanted = ctypes.c_int32(int(sys.argv[1]))
libc = ctypes.CDLL(None, use_errno=True)
# struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
arguments = struct.pack("11Q", 0, 0, 0, 0, SIGCHLD, 0, 0, 0, ctypes.addressof(wanted), 1, 0)
pid = libc.syscall(SYSCALL_CLONE3, ctypes.create_string_buffer(arguments, len(arguments)), len(arguments))
if pid < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
if pid == 0:
    # PR_SET_PDEATHSIG, SIGKILL
    libc.prctl(1, 9)
    os.execv(sys.argv[2], sys.argv[2:])
os.waitpid(pid, 0)
