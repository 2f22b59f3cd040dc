"""The one statement that a job of the benchmark consists of."""

INSERT = "INSERT INTO bench.effects (n) VALUES (%s)"
