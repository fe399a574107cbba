"""What the runs show: contrasts, statistics, cost, tuning."""
