#![doc = include_str!("../README.md")]

mod error;
mod reading;
mod selection;

pub use error::DataError;
pub use reading::{
    Data, Instance, MOST_LEARNED_VALUES, check_instance, nothing_within, of_one_fleet, read,
    read_to_learn,
};
pub use selection::Selection;
