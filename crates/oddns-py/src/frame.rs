//! Tables of numbers, from arrays of NumPy.

use std::sync::Arc;

use numpy::ndarray::{ArrayView1, ArrayView2};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use oddns_core::{Frame, Timestamp};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::{Kind, of_data, raise};

/// Rows of one server at rising times; missing values are NaN.
#[pyclass(frozen, name = "Frame", module = "oddns._oddns")]
#[derive(Debug, Clone)]
pub(crate) struct PyFrame {
    pub(crate) instance: String,
    pub(crate) frame: Arc<Frame>,
}

/// A value of the tables that are read, as the 32-bit float that is kept.
trait Number: Copy {
    fn kept(self) -> f32;
}

impl Number for f32 {
    fn kept(self) -> f32 {
        self
    }
}

impl Number for f64 {
    fn kept(self) -> f32 {
        self as f32
    }
}

#[pymethods]
impl PyFrame {
    /// From an array of rows and columns, of 32-bit or 64-bit floats in any memory order.
    #[staticmethod]
    fn from_array(
        py: Python<'_>,
        columns: Vec<String>,
        millis: PyReadonlyArray1<'_, i64>,
        values: &Bound<'_, PyAny>,
        instance: String,
    ) -> PyResult<Self> {
        let millis = millis.as_array();
        if let Ok(values) = values.extract::<PyReadonlyArray2<'_, f32>>() {
            return rows(py, columns, millis, values.as_array(), instance);
        }
        let values = values.extract::<PyReadonlyArray2<'_, f64>>();
        let values =
            values.map_err(|_| PyTypeError::new_err("values must be an array of floats"))?;
        rows(py, columns, millis, values.as_array(), instance)
    }

    /// From one array for each column, as data frames and Arrow keep them.
    #[staticmethod]
    fn from_columns(
        columns: Vec<String>,
        millis: PyReadonlyArray1<'_, i64>,
        values: Vec<Bound<'_, PyAny>>,
        instance: String,
    ) -> PyResult<Self> {
        let (millis, width) = (millis.as_array(), columns.len());
        let mut table = vec![f32::NAN; millis.len() * width];
        for (at, column) in values.iter().enumerate() {
            let name = columns.get(at).map_or("", String::as_str);
            let cells = table.iter_mut().skip(at).step_by(width.max(1));
            if let Ok(column) = column.extract::<PyReadonlyArray1<'_, f32>>() {
                fill(name, column.as_array(), cells)?;
            } else if let Ok(column) = column.extract::<PyReadonlyArray1<'_, f64>>() {
                fill(name, column.as_array(), cells)?;
            } else {
                return Err(PyTypeError::new_err("columns must be arrays of floats"));
            }
        }
        let frame = assemble(columns, millis, table.chunks_exact(width.max(1)))?;
        Ok(Self { instance, frame: Arc::new(frame) })
    }

    /// Which server; empty for a table that has none.
    #[getter]
    fn instance(&self) -> &str {
        &self.instance
    }

    /// Names of the columns.
    #[getter]
    fn columns(&self) -> Vec<String> {
        self.frame.columns().to_vec()
    }

    /// Milliseconds since the Unix epoch, one a row.
    fn timestamps<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let millis: Vec<i64> = self.frame.timestamps().iter().map(|time| time.millis()).collect();
        millis.into_pyarray(py)
    }

    /// All values, rows first.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let values: Vec<f32> = self.frame.rows().flat_map(|(_, row)| row).copied().collect();
        values.into_pyarray(py).reshape([self.frame.len(), self.frame.width()])
    }

    /// The stretches of rows that `kept` marks, one frame each.
    fn stretches(&self, kept: PyReadonlyArray1<'_, bool>) -> PyResult<Vec<Self>> {
        let kept: Vec<bool> = kept.as_array().iter().copied().collect();
        let mut found: Vec<Frame> = Vec::new();
        let mut goes_on = false;
        for ((time, row), kept) in self.frame.rows().zip(kept) {
            if kept && !goes_on {
                found.push(Frame::new(self.frame.columns().to_vec()));
            }
            if let (true, Some(last)) = (kept, found.last_mut()) {
                last.push(time, row).map_err(|error| of_data(&error))?;
            }
            goes_on = kept;
        }
        let named = |frame| Self { instance: self.instance.clone(), frame: Arc::new(frame) };
        Ok(found.into_iter().map(named).collect())
    }

    fn __len__(&self) -> usize {
        self.frame.len()
    }
}

fn rows<T: Number + Send + Sync>(
    py: Python<'_>,
    columns: Vec<String>,
    millis: ArrayView1<'_, i64>,
    values: ArrayView2<'_, T>,
    instance: String,
) -> PyResult<PyFrame> {
    if let Some(((row, at), _)) = values.indexed_iter().find(|(_, value)| is_lost(**value)) {
        return Err(infinite(columns.get(at).map_or("", String::as_str), row));
    }
    let frame = py.detach(|| {
        let width = values.ncols().max(1);
        let kept: Vec<f32> = values.iter().map(|value| value.kept()).collect();
        assemble(columns, millis, kept.chunks_exact(width))
    })?;
    Ok(PyFrame { instance, frame: Arc::new(frame) })
}

fn fill<'a, T: Number>(
    name: &str,
    column: ArrayView1<'_, T>,
    cells: impl Iterator<Item = &'a mut f32>,
) -> PyResult<()> {
    for (row, (cell, value)) in cells.zip(column).enumerate() {
        if is_lost(*value) {
            return Err(infinite(name, row));
        }
        *cell = value.kept();
    }
    Ok(())
}

/// Whether a 32-bit float cannot hold a value that is not missing.
fn is_lost(value: impl Number) -> bool {
    value.kept().is_infinite()
}

fn infinite(column: &str, row: usize) -> PyErr {
    let message = format!(
        "row {row} of column `{column}` is infinite or too large for a 32-bit float: put NaN for \
         what is missing, or scale the column down"
    );
    raise(Kind::Data, message)
}

fn assemble<'a>(
    columns: Vec<String>,
    millis: ArrayView1<'_, i64>,
    rows: impl Iterator<Item = &'a [f32]>,
) -> PyResult<Frame> {
    let mut frame = Frame::new(columns);
    for (millis, row) in millis.iter().zip(rows) {
        let time = Timestamp::from_millis(*millis);
        frame.push(time, row).map_err(|error| of_data(&error))?;
    }
    Ok(frame)
}
