"""Holds one thread of a process (argv[1]: its id), and no other, for as long as this runs (ptrace(2))."""

import ctypes
import os
import signal
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
thread = int(sys.argv[1])
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.waitpid(thread, os.WUNTRACED | 0x40000000)  # __WALL: also of a thread
print("frozen", flush=True)
signal.pause()
