//! Tries to prove a cluster of the real binary wrong.
