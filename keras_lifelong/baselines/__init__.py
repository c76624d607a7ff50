"""The papers' baselines, one short file each."""
