"""Networks of nodes, and the route of each task through them."""
