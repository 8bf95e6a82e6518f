//! The long-running service: configuration, scraping loop, page, own metrics.
