#![doc = include_str!("../README.md")]

mod data;
mod error;
mod follower;
mod frame;
mod model;
mod network;
mod prometheus;
mod scored;
mod update;
mod worker;

/// The native half of the Python package `oddns`; `python/oddns` is the other.
#[pyo3::pymodule]
mod _oddns {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::data::read;
    #[pymodule_export]
    use crate::follower::{PyFollower, PyPieces, pieces};
    #[pymodule_export]
    use crate::frame::PyFrame;
    #[pymodule_export]
    use crate::model::PyModel;
    #[pymodule_export]
    use crate::network::PyNetwork;
    #[pymodule_export]
    use crate::prometheus::fetch;
    #[pymodule_export]
    use crate::scored::PyScored;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
