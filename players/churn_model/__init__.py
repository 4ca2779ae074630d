"""The churn model and how it is fitted. Pure: imports no Django."""
