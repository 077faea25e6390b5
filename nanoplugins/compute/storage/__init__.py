"""Volumes, disks of instances, storage pools, snapshots and their schedules."""
