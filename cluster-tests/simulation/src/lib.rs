//! Deterministic simulation of the real `raft` and `engine`.
