"""Memory for training on a CPU: freed buffers are kept and reused, in large pages.

A training step allocates and frees the same large buffers over and over. By default glibc returns them to the kernel,
which then clears thousands of small pages at every step; that costs more than much of the arithmetic.
"""

import ctypes
import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # option numbers of glibc's mallopt
_LARGEST_MMAP_THRESHOLD = 32 * 2**20  # the largest value that glibc accepts
_MADV_HUGEPAGE = 14
_HEAP_BLOCKS = 32  # each just below the threshold: 1 GB of addresses, which cost nothing until they are used


def keep_freed_memory() -> None:
    """Ask the C library to keep freed buffers, and the kernel to back the heap with huge pages.

    The numbers that are computed stay the same. Without glibc or huge pages this does nothing.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    _grow_heap(libc)
    heap = re.search(r"^([0-9a-f]+)-([0-9a-f]+) .*\[heap\]$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    if heap is not None:
        start, end = (int(address, 16) for address in heap.groups())
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_HUGEPAGE)


@contextmanager
def old_objects_aside() -> Iterator[None]:
    """Hide the half a million objects that the imports made from the garbage collector while the context is open."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _grow_heap(libc: ctypes.CDLL) -> None:
    """Grow the heap without touching its new pages, so that one call of madvise covers all that training will use."""
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(ctypes.c_size_t(_LARGEST_MMAP_THRESHOLD - 4096)) for _ in range(_HEAP_BLOCKS)]
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
