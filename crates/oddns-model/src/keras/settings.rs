//! The settings of a layer in `config.json`.

use serde_json::Value;

use crate::graph::Dimensions;

/// The `config` of a layer. Messages name the key.
pub(super) struct Settings<'a>(pub(super) &'a Value);

impl Settings<'_> {
    /// What holds for all layers: single precision, channels last, nothing beside the loss that
    /// training would have to heed.
    pub(super) fn check_common(&self) -> Result<(), String> {
        self.check_penalties()?;
        self.only("data_format", &[Value::from("channels_last")])?;
        let dtype = match &self.0["dtype"] {
            Value::Object(policy) => policy.get("config").map_or(&Value::Null, |c| &c["name"]),
            other => other,
        };
        match dtype {
            Value::Null => Ok(()),
            Value::String(name) if name == "float32" => Ok(()),
            other => Err(format!("its `dtype` is {other}")),
        }
    }

    /// Refuses regularisers and constraints: to leave them out without a word would train another
    /// network.
    fn check_penalties(&self) -> Result<(), String> {
        for (key, value) in self.0.as_object().into_iter().flatten() {
            let is_penalty = key.ends_with("_regularizer") || key.ends_with("_constraint");
            if is_penalty && !value.is_null() {
                let class = value["class_name"].as_str().or(value.as_str()).unwrap_or("unknown");
                return Err(format!(
                    "its `{key}` is `{class}`, which training here does not heed: build the model \
                     without it and copy the weights (`set_weights`), what it computes stays the same"
                ));
            }
        }
        Ok(())
    }

    /// Refuses a setting that is there and none of `allowed`.
    pub(super) fn only(&self, key: &str, allowed: &[Value]) -> Result<(), String> {
        let found = &self.0[key];
        if found.is_null() || allowed.contains(found) {
            return Ok(());
        }
        Err(format!("`{key}` is {found}"))
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> bool {
        self.0[key].as_bool().unwrap_or(default)
    }

    pub(super) fn number(&self, key: &str) -> Result<usize, String> {
        whole(&self.0[key]).ok_or_else(|| format!("`{key}` is {}, no whole number", self.0[key]))
    }

    pub(super) fn real(&self, key: &str, default: f64) -> Result<f64, String> {
        match &self.0[key] {
            Value::Null => Ok(default),
            found => found.as_f64().ok_or_else(|| format!("`{key}` is {found}, no number")),
        }
    }

    /// A number for each of `axes` axes, or one for all.
    pub(super) fn numbers(&self, key: &str, axes: usize) -> Result<Vec<usize>, String> {
        let found = &self.0[key];
        let numbers = match found {
            Value::Array(parts) if parts.len() == axes => parts.iter().map(whole).collect(),
            Value::Number(_) => whole(found).map(|one| vec![one; axes]),
            _ => None,
        };
        numbers.ok_or_else(|| format!("`{key}` is {found}, not {axes} whole numbers"))
    }

    /// Amounts before and after for each of `axes` axes.
    pub(super) fn pairs(&self, key: &str, axes: usize) -> Result<Vec<(usize, usize)>, String> {
        let found = &self.0[key];
        let pair = |value: &Value| match value {
            Value::Array(ends) if ends.len() == 2 => Some((whole(&ends[0])?, whole(&ends[1])?)),
            Value::Number(_) => whole(value).map(|both| (both, both)),
            _ => None,
        };
        let pairs: Option<Vec<_>> = match found {
            Value::Array(parts) if axes == 2 => parts.iter().map(pair).collect(),
            both => pair(both).map(|both| vec![both; axes]),
        };
        let pairs = pairs.filter(|pairs| pairs.len() == axes);
        pairs.ok_or_else(|| format!("`{key}` is {found}, not pairs for {axes} axes"))
    }

    /// The axis without the batch.
    pub(super) fn axis(&self, axes: usize) -> Result<usize, String> {
        let found = self.0["axis"].as_i64().unwrap_or(-1);
        let axis = if found < 0 { found + axes as i64 } else { found - 1 };
        let axis = usize::try_from(axis).ok().filter(|axis| *axis < axes);
        axis.ok_or_else(|| format!("its `axis` is {found}"))
    }

    /// Refuses an axis other than the last.
    pub(super) fn last_axis(&self, axes: usize) -> Result<(), String> {
        let found = match &self.0["axis"] {
            Value::Array(parts) if parts.len() == 1 => &parts[0],
            other => other,
        };
        match found.as_i64() {
            None if found.is_null() => Ok(()),
            Some(axis) if axis == -1 || axis == axes as i64 => Ok(()),
            _ => Err(format!("its `axis` is {found}, only the last is supported")),
        }
    }

    pub(super) fn target_shape(&self) -> Result<Dimensions, String> {
        let found = &self.0["target_shape"];
        let size = |size: &Value| match size.as_i64() {
            Some(-1) => Some(None),
            _ => whole(size).map(Some),
        };
        let shape = found.as_array().and_then(|sizes| sizes.iter().map(size).collect());
        shape.ok_or_else(|| format!("its `target_shape` is {found}"))
    }
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}
