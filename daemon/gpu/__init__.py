"""The GPU task group: one task per device in the daemon, one child process that samples.

In the daemon: `plan`, `device`, `wire`. In the child only: `child`, `sdxl`, `denoise`, `previews`,
`demo`; nothing else may import those, because they import torch.
"""
