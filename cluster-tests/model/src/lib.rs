//! The nine rules of deciding, as a model that is checked exhaustively.
