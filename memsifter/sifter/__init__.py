"""The sifter for applications: the pipeline's filter and ranker on sessions in memory, and a store of sessions."""
