//! What is stored is what is loaded; what does not fit together is refused.
