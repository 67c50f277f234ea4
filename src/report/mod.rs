//! What the user gets to read of a run.
