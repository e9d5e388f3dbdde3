"""What a recipe will need before it runs: memory, time, disk and cost, from the shape of its models alone."""
