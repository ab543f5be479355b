"""Freed memory is kept, in huge pages."""

import os
import subprocess
import sys

import pytest


@pytest.mark.skipif(not os.path.exists("/sys/kernel/mm/transparent_hugepage"), reason="no huge pages here")
def test_the_heap_is_kept_and_in_huge_pages():
    script = (
        "from pathlib import Path; import torch; from models.layers.allocator import keep_freed_memory\n"
        "keep_freed_memory()\n"
        "def resident(): return int(Path('/proc/self/statm').read_text().split()[1])\n"
        "before = resident(); x = [torch.ones(2_000_000) for _ in range(8)]; used = resident(); del x\n"
        "heap = Path('/proc/self/smaps').read_text().split('[heap]')[1]\n"
        "flags = next(line for line in heap.splitlines() if line.startswith('VmFlags'))\n"
        "print(' hg' in flags, resident() - before > 0.9 * (used - before))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True).split() == ["True", "True"]
