"""Disks that refuse: a small one, to be filled; and system calls that fail for one file of a process."""
