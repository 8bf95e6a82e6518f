//! Answers of Prometheus's HTTP API, in JSON.

use std::collections::BTreeMap;

use oddns_core::{Labels, SeriesKey, Timestamp};
use serde::Deserialize;

use crate::exposition::{Limits, parse_float};
use crate::transpose::Transpose;

/// Warnings of one answer that are told.
const MAX_WARNINGS: usize = 5;

/// Why an answer of Prometheus's HTTP API cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The text is no JSON, or no JSON of this API; says line and column.
    #[error("it is no answer of Prometheus's HTTP API, or a damaged one")]
    Json(#[source] serde_json::Error),
    /// Prometheus says that it could not answer.
    #[error("Prometheus says `{message}` ({kind})")]
    Refused {
        /// Prometheus's `errorType`, such as `bad_data`.
        kind: String,
        /// Prometheus's `error`.
        message: String,
    },
    /// A part of the data is missing, as VictoriaMetrics says it.
    #[error("the answer is partial: a storage node did not take part, so ask again later")]
    Partial,
    /// Other data than series over time.
    #[error("`data.resultType` is `{0}`, expected `matrix`: ask `query_range`")]
    ResultType(String),
    /// A value at `path` that is not what its place asks for.
    #[error("`{path}`: `{text}` is no {expected}")]
    Value {
        /// JSON path, such as `data.result[3].values[17][1]`.
        path: String,
        /// The value.
        text: String,
        /// What stands there in a good answer.
        expected: &'static str,
    },
    /// More than a limit allows.
    #[error("`{path}`: more than {limit} {what}")]
    TooMany {
        /// JSON path.
        path: String,
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

/// What every answer looks like around its data.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<D> {
    status: String,
    #[serde(default = "Option::default")]
    data: Option<D>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "isPartial")]
    is_partial: bool,
    #[serde(default)]
    warnings: Vec<String>,
}

/// The data of `query_range`, and of `query` with a range.
#[derive(Debug, Deserialize)]
pub(crate) struct Matrix {
    #[serde(rename = "resultType")]
    result_type: String,
    result: Vec<MatrixSeries>,
}

#[derive(Debug, Deserialize)]
struct MatrixSeries {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    /// Unix seconds and the value as text. A native histogram has `histograms` instead.
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// Reads one answer that is all of `text`.
pub(crate) fn parse<'a, D: Deserialize<'a>>(text: &'a [u8]) -> Result<D, AnswerError> {
    Ok(parse_warned(text)?.0)
}

/// The same, with what the server says that may be missing.
pub(crate) fn parse_warned<'a, D: Deserialize<'a>>(
    text: &'a [u8],
) -> Result<(D, Vec<String>), AnswerError> {
    let mut answer = serde_json::from_slice::<Answer<D>>(text).map_err(AnswerError::Json)?;
    let warnings = std::mem::take(&mut answer.warnings);
    let warnings = warnings.iter().take(MAX_WARNINGS).map(|warning| shown(warning)).collect();
    Ok((answer.data()?, warnings))
}

impl<D> Answer<D> {
    /// The data of a success.
    pub(crate) fn data(self) -> Result<D, AnswerError> {
        if self.is_partial {
            return Err(AnswerError::Partial);
        }
        match self.data {
            Some(data) if self.status == "success" => Ok(data),
            _ => Err(AnswerError::Refused { kind: self.error_type, message: shown(&self.error) }),
        }
    }
}

impl Matrix {
    /// Puts every sample of an instant that `wanted` takes into `out`, which may then have
    /// `max_samples`.
    pub(crate) fn fill(
        self,
        out: &mut Transpose,
        limits: &Limits,
        max_samples: usize,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<(), AnswerError> {
        if self.result_type != "matrix" {
            return Err(AnswerError::ResultType(shown(&self.result_type)));
        }
        for (at, series) in self.result.into_iter().enumerate() {
            if out.len().saturating_add(series.values.len()) > max_samples {
                let path = format!("data.result[{at}]");
                return Err(AnswerError::TooMany { path, what: "samples", limit: max_samples });
            }
            series.fill(out, limits, at, &wanted)?;
        }
        Ok(())
    }
}

impl MatrixSeries {
    fn fill(
        self,
        out: &mut Transpose,
        limits: &Limits,
        at: usize,
        wanted: impl Fn(i64) -> bool,
    ) -> Result<(), AnswerError> {
        let key = series_key(self.metric, limits, at)?;
        let place = out.place(key);
        for (n, (seconds, text)) in self.values.iter().enumerate() {
            let wrong = |place: usize, text: String, expected| {
                let path = format!("data.result[{at}].values[{n}][{place}]");
                AnswerError::Value { path, text, expected }
            };
            let Some(time) = Timestamp::from_unix_seconds(*seconds) else {
                return Err(wrong(0, seconds.to_string(), "time in Unix seconds"));
            };
            let Some(value) = parse_float(text.as_bytes()) else {
                return Err(wrong(1, shown(text), "number, `NaN`, `+Inf` or `-Inf`"));
            };
            if wanted(time.millis()) {
                out.push(place, time.millis(), value);
            }
        }
        Ok(())
    }
}

fn series_key(
    mut metric: BTreeMap<String, String>,
    limits: &Limits,
    at: usize,
) -> Result<SeriesKey, AnswerError> {
    let path = || format!("data.result[{at}].metric");
    let too_many = |what, limit| AnswerError::TooMany { path: path(), what, limit };
    let Some(name) = metric.remove("__name__") else {
        let (text, expected) =
            ("{…}".to_owned(), "series with a `__name__`: ask for one without a function");
        return Err(AnswerError::Value { path: path(), text, expected });
    };
    if metric.len() > limits.max_labels {
        return Err(too_many("labels", limits.max_labels));
    }
    for (label, value) in &metric {
        if label.len().max(name.len()) > limits.max_name_bytes {
            return Err(too_many("bytes in a name", limits.max_name_bytes));
        }
        if value.len() > limits.max_value_bytes {
            return Err(too_many("bytes in a label value", limits.max_value_bytes));
        }
    }
    Ok(SeriesKey { name, labels: Labels::new(metric.into_iter().collect()) })
}

/// The start of a text for a message.
fn shown(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<usize, AnswerError> {
        let mut out = Transpose::new("unknown");
        parse::<Matrix>(text.as_bytes())?.fill(&mut out, &Limits::default(), 3, |_| true)?;
        Ok(out.len())
    }

    fn matrix(result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#)
    }

    #[test]
    fn values_are_taken() {
        let text =
            matrix(r#"{"metric":{"__name__":"up"},"values":[[1.5,"1"],[2,"NaN"],[3,"+Inf"]]}"#);
        assert_eq!(fill(&text).unwrap(), 3);
        assert_eq!(fill(&matrix("")).unwrap(), 0);
        let native = r#"{"metric":{"__name__":"h"},"histograms":[[1,{"count":"1"}]]}"#;
        assert_eq!(fill(&matrix(native)).unwrap(), 0);
    }

    #[test]
    fn warnings_are_told_and_bounded() {
        let text = matrix("").replacen('{', r#"{"warnings":["a","b","c","d","e","f"],"#, 1);
        let (_, warnings) = parse_warned::<Matrix>(text.as_bytes()).unwrap();
        assert_eq!(warnings, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn faults_say_where() {
        for (text, expected) in [
            (matrix(r#"{"metric":{"__name__":"a"},"values":[[1,"1"],[2,"x"]]}"#),
             "`data.result[0].values[1][1]`: `x` is no number, `NaN`, `+Inf` or `-Inf`"),
            (matrix(r#"{"metric":{"__name__":"a"},"values":[[1e300,"1"]]}"#),
             "is no time in Unix seconds"),
            (matrix(r#"{"metric":{"job":"a"},"values":[]}"#),
             "`data.result[0].metric`: `{…}` is no series with a `__name__`: ask for one without a function"),
            (matrix(r#"{"metric":{"__name__":"a"},"values":[[1,"1"],[2,"1"],[3,"1"],[4,"1"]]}"#),
             "`data.result[0]`: more than 3 samples"),
            (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned(),
             "`data.resultType` is `vector`, expected `matrix`: ask `query_range`"),
            (r#"{"status":"error","errorType":"bad_data","error":"parse error: x"}"#.to_owned(),
             "Prometheus says `parse error: x` (bad_data)"),
            (r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#.to_owned(),
             "the answer is partial: a storage node did not take part, so ask again later"),
        ] {
            let error = fill(&text).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{text}: {error}");
        }
        let error = fill("{\"status\":\n 1}").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "invalid type: integer `1`, expected a string at line 2 column 2");
    }
}
