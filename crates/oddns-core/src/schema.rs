//! Which features a model was trained on, and in which order.

use std::fmt;
use std::str::FromStr;

use crate::stable_hash;

/// Feature names in column order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    columns: Vec<String>,
    id: SchemaId,
}

/// A number that differs when any name or the order differs. Printed as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SchemaId(pub u64);

impl Schema {
    /// From column names in order.
    pub fn new(columns: Vec<String>) -> Self {
        // A zero byte ends each name, so that the borders count.
        let bytes = columns.iter().flat_map(|name| name.bytes().chain([0]));
        let id = SchemaId(stable_hash(bytes));
        Self { columns, id }
    }

    /// Column names, in order.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The identity of this schema.
    pub fn id(&self) -> SchemaId {
        self.id
    }
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for SchemaId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_tells_order_and_borders_of_names() {
        let id = |names: &[&str]| Schema::new(names.iter().map(|n| (*n).to_owned()).collect()).id();
        assert_ne!(id(&["a", "b"]), id(&["b", "a"]));
        assert_ne!(id(&["ab"]), id(&["a", "b"]));
        assert_eq!(id(&["a"]).to_string().parse::<SchemaId>().unwrap(), id(&["a"]));
    }
}
