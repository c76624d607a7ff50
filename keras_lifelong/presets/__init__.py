"""Presets: trained models as directories of plain data, here and on hubs."""
