"""Keep freed memory inside the process: one C library setting that training on a CPU gains from."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # option numbers of glibc's mallopt


def keep_freed_memory() -> None:
    """Ask the C library not to return freed buffers to the kernel, for the whole process.

    A training step frees and asks again for the same large buffers; glibc gives them back in between, and the
    kernel then clears thousands of pages at every step. Without effect where the C library is not glibc.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest value glibc takes
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
