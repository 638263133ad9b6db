"""Networks that several systems can be built on, in plain torch: torchvision is not needed.

Imports errors and blend_assets (which finds published weights) alone.
"""
