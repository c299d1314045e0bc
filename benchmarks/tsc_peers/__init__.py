"""What the benchmarks of quire-tsc against other libraries share: their environments, and contenders in processes."""
