"""Networks that several systems can be built on, in plain torch: torchvision is not needed. Imports nothing of ours."""
