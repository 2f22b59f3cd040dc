"""The worker process: claims, runs and finishes jobs."""
