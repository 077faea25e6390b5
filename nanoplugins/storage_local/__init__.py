"""Volumes as qcow2 files in local folders."""
