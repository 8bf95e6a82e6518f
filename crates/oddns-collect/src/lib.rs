//! Prometheus exposition parser, scraper and replay of saved scrapes.
