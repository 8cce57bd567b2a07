"""The GPU task group: one task per device in the daemon, one child process that samples.

In the daemon: `plan`, `wire`, `process`, `device`, `making`, `stored`, `recovery`. In the child only:
`child`, `orders`, `work`, `sdxl`, `single_file`, `denoise`, `transfers`, `samplers`, `snapshots`, `view`,
`taesd`, `previews`, `formats`, `thumbnails`, and in a process of its own `animation`; nothing in the daemon
may import those, because they bring torch, numpy or Pillow with them.
"""
