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
    /// Whether the times are those of the data, rather than counted.
    pub(crate) timed: bool,
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
    #[pyo3(signature = (columns, millis, values, instance, timed=true))]
    fn from_array(
        py: Python<'_>,
        columns: Vec<String>,
        millis: PyReadonlyArray1<'_, i64>,
        values: &Bound<'_, PyAny>,
        instance: String,
        timed: bool,
    ) -> PyResult<Self> {
        let millis = millis.as_array();
        if let Ok(values) = values.extract::<PyReadonlyArray2<'_, f32>>() {
            let frame = rows(py, columns, millis, values.as_array())?;
            return Ok(Self { instance, frame, timed });
        }
        let values = values.extract::<PyReadonlyArray2<'_, f64>>();
        let values =
            values.map_err(|_| PyTypeError::new_err("values must be an array of floats"))?;
        let frame = rows(py, columns, millis, values.as_array())?;
        Ok(Self { instance, frame, timed })
    }

    /// From one array for each column, as data frames and Arrow keep them.
    #[staticmethod]
    #[pyo3(signature = (columns, millis, values, instance, timed=true))]
    fn from_columns(
        columns: Vec<String>,
        millis: PyReadonlyArray1<'_, i64>,
        values: Vec<Bound<'_, PyAny>>,
        instance: String,
        timed: bool,
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
        Ok(Self { instance, frame: Arc::new(frame), timed })
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

    /// Whether the times are those of the data, rather than counted.
    #[getter]
    fn timed(&self) -> bool {
        self.timed
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

    fn __len__(&self) -> usize {
        self.frame.len()
    }
}

fn rows<T: Number + Send + Sync>(
    py: Python<'_>,
    columns: Vec<String>,
    millis: ArrayView1<'_, i64>,
    values: ArrayView2<'_, T>,
) -> PyResult<Arc<Frame>> {
    check(&columns, values)?;
    py.detach(|| {
        let width = values.ncols().max(1);
        let kept: Vec<f32> = values.iter().map(|value| value.kept()).collect();
        assemble(columns, millis, kept.chunks_exact(width)).map(Arc::new)
    })
}

/// The values of an array of this shape, of 32-bit or 64-bit floats.
pub(crate) fn values(
    columns: &[String],
    (rows, width): (usize, usize),
    array: &Bound<'_, PyAny>,
) -> PyResult<Vec<f32>> {
    if let Ok(array) = array.extract::<PyReadonlyArray2<'_, f32>>() {
        return kept(columns, (rows, width), array.as_array());
    }
    let found = array.extract::<PyReadonlyArray2<'_, f64>>();
    let found = found.map_err(|_| {
        let message = format!("a window must be an array of {rows} rows and {width} columns");
        raise(Kind::Data, message)
    })?;
    kept(columns, (rows, width), found.as_array())
}

fn kept<T: Number>(
    columns: &[String],
    shape: (usize, usize),
    array: ArrayView2<'_, T>,
) -> PyResult<Vec<f32>> {
    if array.dim() != shape {
        let ((rows, width), (n_rows, n_columns)) = (shape, array.dim());
        let message = format!(
            "a window has {rows} rows of {width} columns, this one {n_rows} of {n_columns}: give the \
             last {rows} rows"
        );
        return Err(raise(Kind::Data, message));
    }
    check(columns, array)?;
    Ok(array.iter().map(|value| value.kept()).collect())
}

/// Refuses values that a 32-bit float cannot hold.
fn check<T: Number>(columns: &[String], values: ArrayView2<'_, T>) -> PyResult<()> {
    match values.indexed_iter().find(|(_, value)| is_lost(**value)) {
        Some(((row, at), _)) => Err(infinite(columns.get(at).map_or("", String::as_str), row)),
        None => Ok(()),
    }
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
