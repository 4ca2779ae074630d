"""The churn model and its fitting; pure, so it imports no Django."""
