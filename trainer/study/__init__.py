"""Which variability of the training data matters: scenarios rendered, networks trained, all tested on all, one page.

Data sets are rendered and networks trained by `gen render` and `gen train` in processes of their own: no bpy here.
"""
