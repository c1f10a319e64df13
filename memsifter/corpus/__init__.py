"""What a conversation is (turns, sessions, haystacks, questions), and how a dataset lies on disk."""
