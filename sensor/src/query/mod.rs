//! Query: from an expression and a time range to packets of the ring, with a statement of completeness.
