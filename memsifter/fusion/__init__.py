"""One score out of several: sums of standardised scores, with weights set by hand or fitted on questions with gold."""
