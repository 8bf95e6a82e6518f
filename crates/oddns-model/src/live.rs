//! Predictions row by row, each at the price of one row.
//!
//! A dense pass computes every layer for every row. All that a new row needs of the rows before is
//! what went into each layer at the few rows its taps reach back to. That is kept, for the forecast
//! and for every pass of the completion side by side: the passes of one time stand where the
//! kernels expect rows, so that one correlation does them all and reads the weights once.

use crate::convolution::{Convolution, Reading};
use crate::kernels::gelu;
use crate::masking::Hidden;
use crate::network::{Layers, Network};
use crate::plane::stride;
use crate::{Config, ModelError};

/// What the rows so far left behind, for [`Network::push`].
///
/// Belongs to the network that made it, and stays as large as it was made: with the recipe at 73
/// features 30 KiB with 4 groups, and 10 KiB for forecasts alone. There are two ways to keep it over a restart, both exact: save
/// [`LiveState::n_rows`] and [`LiveState::memory`] for [`Network::resume`]; or save the last
/// [`Network::receptive_field`] − 1 rows, or all when there are fewer, and push them into a fresh
/// state.
#[derive(Debug, Clone)]
pub struct LiveState {
    config: Config,
    /// Passes of the completion, at most one for each feature. The forecast is one pass more, the
    /// first.
    n_groups: usize,
    n_rows: u64,
    /// The rings of all layers, in the order of [`rings`].
    memory: Vec<f32>,
    scratch: Scratch,
}

/// What is written and read within one step; nothing of it lasts.
#[derive(Debug, Clone)]
struct Scratch {
    /// `(passes, 2 · n_features)`: visible values, then visible flags. The first pass sees nothing.
    visible: Vec<f32>,
    /// Output of the history branch, the same in every pass.
    history: Vec<f32>,
    /// Output of the linear part, the same in every pass; empty without one.
    linear: Vec<f32>,
    /// `(passes, n_out)` of one layer.
    output: Vec<f32>,
    /// Where in a ring the rows are that the taps of a layer read.
    starts: Vec<usize>,
    completion: Vec<f32>,
}

/// What a row should have been.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Predicted<'a> {
    /// From the rows before alone, as [`Network::forecast`]; one value a feature.
    pub forecast: &'a [f32],
    /// With the other features of the row in view, as [`Network::complete`]; one value a feature,
    /// and none at all from a state without groups.
    pub completion: &'a [f32],
}

impl Network {
    /// A state that has seen no row; what came before the first counts as zeros, as in a dense
    /// pass. Completions hide feature `j` in pass `j % n_groups`; more groups than features are as
    /// many as features. With 0 groups only forecasts are made, at a fraction of the price.
    pub fn live(&self, n_groups: usize) -> LiveState {
        let (config, n_features) = (self.config().clone(), self.config().n_features);
        let n_groups = n_groups.min(n_features);
        let n_passes = n_groups + 1;
        let widest = self.layers.all().map(|layer| stride(layer.n_out)).max().unwrap_or_default();
        let scratch = Scratch {
            visible: vec![0.0; n_passes * stride(2 * n_features)],
            history: vec![0.0; stride(self.layers.history.n_out)],
            linear: vec![0.0; self.layers.linear.as_ref().map_or(0, |layer| stride(layer.n_out))],
            output: vec![0.0; n_passes * widest],
            starts: Vec::with_capacity(config.kernel),
            completion: vec![0.0; if n_groups > 0 { n_features } else { 0 }],
        };
        let memory = vec![0.0; rings(&self.layers, n_passes).map(|ring| ring.size()).sum()];
        LiveState { config, n_groups, n_rows: 0, memory, scratch }
    }

    /// The state that had seen `n_rows` rows and had this `memory`. Refuses a memory of another
    /// size than [`Network::live`] makes with these groups. What is in it is not looked at: values
    /// from elsewhere spoil the next [`Network::receptive_field`] − 1 predictions, not those after.
    pub fn resume(
        &self,
        n_groups: usize,
        n_rows: u64,
        memory: &[f32],
    ) -> Result<LiveState, ModelError> {
        let mut state = self.live(n_groups);
        if memory.len() != state.memory.len() {
            let (found, allowed) = (memory.len(), state.memory.len());
            let (found, allowed) = (format!("{found} values long"), format!("{allowed} long"));
            return Err(setting("memory", &found, &allowed));
        }
        state.memory.copy_from_slice(memory);
        state.n_rows = n_rows;
        Ok(state)
    }

    /// What the next row should be, the same to the bit as a dense pass over all rows pushed so
    /// far says of its last. Values and flags mean what they do in [`crate::Sequence::new`]. Costs
    /// the same for every row and allocates nothing. On an error, which is a row of another width,
    /// a value that is not finite, or a state of another network's shape, the state is as before.
    pub fn push<'a>(
        &self,
        state: &'a mut LiveState,
        values: &[f32],
        observed: &[bool],
    ) -> Result<Predicted<'a>, ModelError> {
        state.check(self, values, observed)?;
        state.show(values, observed);
        let mut rings = rings(&self.layers, state.n_groups + 1);
        if let Some(ring) = rings.next() {
            self.join(state, ring, values);
        }
        for (layer, ring) in self.layers.stack.iter().zip(rings) {
            self.activate(state, layer, ring);
        }
        state.add_linear();
        state.n_rows = state.n_rows.wrapping_add(1);
        Ok(state.predicted())
    }

    /// Leaves the sum of the two branches, before its GELU, as output of every pass, and computes
    /// the linear part, which reads the same rows as the history branch.
    fn join(&self, state: &mut LiveState, ring: Ring, values: &[f32]) {
        let LiveState { memory, scratch, n_rows, n_groups, .. } = state;
        let layer = &self.layers.history;
        let rows = &mut memory[ring.offset..][..ring.size()];
        ring.find_taps(layer, *n_rows, &mut scratch.starts);
        let history = scratch.history.as_mut_slice();
        let reading = Reading { rows: 1, step: 1, starts: &scratch.starts };
        layer.forward_at(&self.parameters, reading, rows, history);
        if let Some(layer) = &self.layers.linear {
            layer.forward_at(&self.parameters, reading, rows, &mut scratch.linear);
        }
        // Only now, because the layer sees rows strictly before: its ring ends at the last one.
        rows[ring.start(*n_rows)..][..values.len()].copy_from_slice(values);

        let layer = &self.layers.current;
        let joined = &mut scratch.output[..(*n_groups + 1) * history.len()];
        let reading = Reading { rows: *n_groups + 1, step: 1, starts: &[0] };
        layer.forward_at(&self.parameters, reading, &scratch.visible, joined);
        for pass in joined.chunks_mut(history.len()) {
            for (sum, history) in pass.iter_mut().zip(&*history) {
                *sum += history;
            }
        }
    }

    /// Replaces the output of the layer before by that of `layer`.
    fn activate(&self, state: &mut LiveState, layer: &Convolution, ring: Ring) {
        let LiveState { memory, scratch, n_rows, n_groups, .. } = state;
        let rows = &mut memory[ring.offset..][..ring.size()];
        gelu(&scratch.output[..ring.slot], &mut rows[ring.start(*n_rows)..][..ring.slot]);
        ring.find_taps(layer, *n_rows, &mut scratch.starts);
        let n_passes = *n_groups + 1;
        let output = &mut scratch.output[..n_passes * stride(layer.n_out)];
        let reading = Reading { rows: n_passes, step: 1, starts: &scratch.starts };
        layer.forward_at(&self.parameters, reading, rows, output);
    }
}

impl LiveState {
    /// Rows pushed since the state was fresh.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Passes of the completion, as [`Network::resume`] takes them.
    pub fn n_groups(&self) -> usize {
        self.n_groups
    }

    /// What has to be saved beside [`LiveState::n_rows`]. The order is fixed for a network's shape
    /// and is nothing to rely on otherwise.
    pub fn memory(&self) -> &[f32] {
        &self.memory
    }

    /// Forgets all rows, as after a gap in time.
    pub fn clear(&mut self) {
        self.n_rows = 0;
        self.memory.fill(0.0);
    }

    fn check(
        &self,
        network: &Network,
        values: &[f32],
        observed: &[bool],
    ) -> Result<(), ModelError> {
        let n_features = self.config.n_features;
        if self.config != *network.config() {
            let found = "from a network of another shape";
            return Err(setting("state", found, "from `live` or `resume` of this one"));
        }
        if values.len() != n_features {
            return Err(ModelError::Width { expected: n_features, found: values.len() });
        }
        if observed.len() != n_features {
            let (values, observed) = (values.len(), observed.len());
            return Err(ModelError::Ragged { n_features, values, observed });
        }
        let Some(feature) = values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let row = usize::try_from(self.n_rows).unwrap_or(usize::MAX);
        Err(ModelError::NotFinite { row, feature, value: values[feature] })
    }

    /// Writes what each pass of the completion sees of the row.
    fn show(&mut self, values: &[f32], observed: &[bool]) {
        let n = values.len();
        let passes = self.scratch.visible.chunks_mut(stride(2 * n)).skip(1);
        for (group, pass) in passes.enumerate() {
            let hidden = Hidden::Group { group, n_groups: self.n_groups };
            hidden.show(0, values, observed, &mut pass[..2 * n]);
        }
    }

    /// Adds the linear part to the output of every pass.
    fn add_linear(&mut self) {
        let Scratch { output, linear, .. } = &mut self.scratch;
        let passes = output.chunks_mut(stride(self.config.n_features)).take(self.n_groups + 1);
        for pass in passes {
            for (sum, linear) in pass.iter_mut().zip(&*linear) {
                *sum += linear;
            }
        }
    }

    /// Picks each feature from the pass that did not see it.
    fn predicted(&mut self) -> Predicted<'_> {
        let n = self.config.n_features;
        let Scratch { output, completion, .. } = &mut self.scratch;
        for (group, pass) in output.chunks(stride(n)).skip(1).take(self.n_groups).enumerate() {
            for j in (group..n).step_by(self.n_groups) {
                completion[j] = pass[j];
            }
        }
        Predicted { forecast: &output[..n], completion }
    }
}

/// The last inputs of one layer: a slot for each time, in it a row for each pass.
#[derive(Debug, Clone, Copy)]
struct Ring {
    /// Where it begins in the memory.
    offset: usize,
    n_slots: usize,
    /// Floats of a slot.
    slot: usize,
}

impl Ring {
    fn size(self) -> usize {
        self.n_slots * self.slot
    }

    /// Where in the ring row `at` is.
    fn start(self, at: u64) -> usize {
        (at % self.n_slots as u64) as usize * self.slot
    }

    /// Where in the ring the rows are that make row `at` of the output of `layer`. Before the
    /// first row they are slots that nobody wrote yet, zeros.
    fn find_taps(self, layer: &Convolution, at: u64, starts: &mut Vec<usize>) {
        let oldest = (at % self.n_slots as u64) as usize + self.n_slots - layer.reach();
        starts.clear();
        let slots = (0..layer.kernel).map(|tap| (oldest + tap * layer.dilation) % self.n_slots);
        starts.extend(slots.map(|slot| slot * self.slot));
    }
}

/// The rings of the layers that look back, and of the 1×1 layers of the stack too, whose ring is
/// the one row they read. The history branch comes first; it reads the same in every pass.
fn rings(layers: &Layers, n_passes: usize) -> impl Iterator<Item = Ring> {
    let history = (layers.history.reach(), stride(layers.history.n_in));
    let stack = layers.stack.iter();
    let stack = stack.map(move |layer| (layer.reach() + 1, n_passes * stride(layer.n_in)));
    let mut offset = 0;
    std::iter::once(history).chain(stack).map(move |(n_slots, slot)| {
        let ring = Ring { offset, n_slots, slot };
        offset += ring.size();
        ring
    })
}

fn setting(field: &'static str, found: &str, allowed: &str) -> ModelError {
    ModelError::Setting { field, found: found.to_owned(), allowed: allowed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(state: &LiveState) -> usize {
        let Scratch { visible, history, linear, output, completion, starts } = &state.scratch;
        let floats = [&state.memory, visible, history, linear, output, completion];
        let held = floats.iter().map(|floats| floats.capacity() * 4).sum::<usize>();
        held + size_of_val(state) + starts.capacity() * 8 + state.config.dilations.len() * 16
    }

    #[test]
    fn a_state_is_small_and_a_clone_goes_its_own_way() {
        let network = Network::new(Config::recipe(73), 1).unwrap();
        let mut state = network.live(4);
        assert!(bytes(&state) <= 30 << 10, "{} bytes", bytes(&state));
        let alone = network.live(0);
        assert!(bytes(&alone) <= 10 << 10, "{} bytes", bytes(&alone));
        let before = bytes(&state);
        for row in 0..100 {
            network.push(&mut state, &[row as f32 / 100.0; 73], &[true; 73]).unwrap();
        }
        assert_eq!(bytes(&state), before);
        let mut clone = state.clone();
        let next = |state: &mut LiveState, value| {
            network.push(state, &[value; 73], &[true; 73]).unwrap().completion.to_vec()
        };
        assert_ne!(next(&mut clone, 5.0), next(&mut state, 1.0));
        assert_ne!(next(&mut clone, 1.0), next(&mut state, 1.0), "the row before counts");
    }

    #[test]
    fn what_is_no_row_is_refused_and_leaves_no_trace() {
        let network = Network::new(Config::recipe(2), 1).unwrap();
        let mut state = network.live(4);
        assert_eq!(state.n_groups(), 2);
        network.push(&mut state, &[0.5, 1.0], &[true; 2]).unwrap();
        let before = state.memory().to_vec();
        let mut push = |network: &Network, values: &[f32], observed: &[bool]| {
            network.push(&mut state, values, observed).unwrap_err().to_string()
        };
        let cases = [
            (push(&network, &[0.0; 3], &[true; 3]), "3 features, the network expects 2"),
            (push(&network, &[0.0; 2], &[true; 3]), "3 observed flags"),
            (push(&network, &[0.0, f32::NAN], &[true; 2]), "row 1, feature 1"),
        ];
        for (message, expected) in cases {
            assert!(message.contains(expected), "{message}");
        }
        let other = Network::new(Config { channels: 8, ..Config::recipe(2) }, 1).unwrap();
        let message = push(&other, &[0.0; 2], &[true; 2]);
        assert!(message.contains("another shape"), "{message}");
        assert_eq!((state.n_rows(), state.memory()), (1, before.as_slice()));
        let message = network.resume(4, 1, &before[1..]).unwrap_err().to_string();
        assert!(message.starts_with("`memory` is"), "{message}");
    }
}
