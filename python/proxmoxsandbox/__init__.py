"""Whole virtual machines on Proxmox VE as sandboxes for Inspect evaluations."""
