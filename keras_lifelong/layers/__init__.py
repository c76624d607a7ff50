"""Layers that grow, and the heads of tasks."""
