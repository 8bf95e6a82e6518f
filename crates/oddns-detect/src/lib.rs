//! Calibration, persistence, attribution, causes and incidents.
