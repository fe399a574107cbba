"""What is to be run: the study file, its arms, their fairness, its registration."""
