//! Metric history, frames, scores and labels on disk.
