"""RL data: which questions a training round takes, and the rows that verl reads."""
