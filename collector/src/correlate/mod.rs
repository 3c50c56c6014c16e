//! Correlate: folds findings that belong together into incidents.
