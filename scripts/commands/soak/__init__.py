"""Run the job engine under faults and compare the enqueued jobs with their effects."""
