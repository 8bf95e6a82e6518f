//! Errors of the library as exceptions of Python.

use std::error::Error;

use oddns::DetectorError;
use oddns_collect::ReplayError;
use oddns_model::ModelError;
use oddns_store::StoreError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// The classes of `oddns._errors` that an error can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Data that cannot be used.
    Data,
    /// Too few rows.
    TooShort,
    /// A model or a setting that cannot be used.
    Model,
}

impl Kind {
    fn class(self) -> &'static str {
        match self {
            Self::Data => "DataError",
            Self::TooShort => "TooShortError",
            Self::Model => "ModelError",
        }
    }
}

/// An exception of this kind; without the package around the module it is a `RuntimeError`.
pub(crate) fn raise(kind: Kind, message: String) -> PyErr {
    Python::attach(|py| {
        let class = py.import("oddns._errors").and_then(|errors| errors.getattr(kind.class()));
        match class.and_then(|class| class.call1((message.clone(),))) {
            Ok(exception) => PyErr::from_value(exception),
            Err(_) => PyRuntimeError::new_err(message),
        }
    })
}

/// The message with all causes behind it, and what Python calls the setting that it is about.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut last = error;
    while let Some(error) = last.source() {
        message += &format!(": {error}");
        last = error;
    }
    if let Some(ModelError::Setting { field, .. }) = last.downcast_ref() {
        message += told_in_python(field);
    }
    message
}

/// What a user of the class has set, where the library has another word for it.
fn told_in_python(field: &str) -> &'static str {
    match field {
        "steps" => " (`epochs`, times the batches that the data makes)",
        "length" => " (`window`)",
        "channels" => " (`layers`)",
        "batch" => " (`batch` or `batch_size`)",
        _ => "",
    }
}

pub(crate) fn of_detector(error: DetectorError) -> PyErr {
    if let DetectorError::TooShort { found, needed } = error {
        return too_short(&error, found, needed);
    }
    let of_data = matches!(
        error,
        DetectorError::Columns { .. }
            | DetectorError::Empty
            | DetectorError::Window { .. }
            | DetectorError::Schema { .. }
            | DetectorError::NothingQuiet { .. }
            | DetectorError::Contradiction { .. }
    );
    raise(if of_data { Kind::Data } else { Kind::Model }, chain(&error))
}

fn too_short(error: &DetectorError, found: usize, needed: usize) -> PyErr {
    let raised = raise(Kind::TooShort, chain(error));
    Python::attach(|py| {
        // The numbers are told in words as well.
        let _ = raised.value(py).setattr("found", found);
        let _ = raised.value(py).setattr("needed", needed);
    });
    raised
}

pub(crate) fn of_model(error: ModelError) -> PyErr {
    raise(Kind::Model, chain(&error))
}

/// What is not there is a `FileNotFoundError`, and so on, as from `open`.
pub(crate) fn of_store(error: StoreError) -> PyErr {
    let message = chain(&error);
    match error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(cause) => std::io::Error::new(cause.kind(), message).into(),
        None => raise(Kind::Data, message),
    }
}

pub(crate) fn of_replay(error: ReplayError) -> PyErr {
    raise(Kind::Data, chain(&error))
}

/// Anything else that says what is wrong with the data.
pub(crate) fn of_data(error: &(dyn Error + 'static)) -> PyErr {
    raise(Kind::Data, chain(error))
}
