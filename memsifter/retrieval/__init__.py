"""The coarse filter: scores of every session for every question, from vectors, words, dates and speakers."""
