"""Methods at sizes that learn two tasks in a moment: arguments by name."""

OPTIONS = {
    "DEN": {"growth": 2, "bucket": 8, "split_threshold": 1e-3},
    "ARI": {
        "memory_budget": 2,
        "training_budget": 1,
        "initial": 1,
        "storing_steps": 50,
        "estimator_epochs": 20,
        "adaptation": 1,
        "hypernetwork": {"name": "chunked", "chunk": 20, "units": [8]},
    },
}
