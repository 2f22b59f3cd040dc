"""The statement that a job of the benchmark runs."""

INSERT = "INSERT INTO bench.effects (n) VALUES (%s)"
