//! The machines: real processes of the real binary, and what can be done to them.
