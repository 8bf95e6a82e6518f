//! Rules of the repository that no other tool knows.
//!
//! Each rule is a function from text to a list of violations, and is tested twice: on the
//! repository, where the list must be empty, and on a small bad input, where it must not be.

mod edges;
mod files;
mod pages;
mod public_api;
mod purity;
mod repository;
mod rust_text;
