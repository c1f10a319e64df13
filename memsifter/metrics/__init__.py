"""Metrics of rankings and answers, with bootstrap intervals, and the tables made of them."""
