"""Data, networks and training in torch; knows no bpy."""

import os

# torch reads this when it first allocates: large tensors get large pages. Training asks the system for memory in every
# step, and getting it in pages of 4 kB took 7 % of the time (docs/benchmarks.md).
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
