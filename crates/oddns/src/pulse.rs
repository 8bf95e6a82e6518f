//! Long work that lets its caller rest, or end it, between small pieces.

use std::ops::ControlFlow;

use oddns_model::Progress;

use crate::detector::DetectorError;

/// Called between pieces of work of some milliseconds each: whoever is called may wait, which leaves
/// the processor to others, and says whether to go on. After a step of training that step comes
/// along.
pub type Pulse<'a> = dyn FnMut(Option<Progress>) -> ControlFlow<()> + 'a;

/// Rows that are judged in one piece: about a millisecond.
const PIECE_ROWS: usize = 64;

/// Calls `pulse` after each piece of rows, of which `at` is one.
pub(crate) fn beat(pulse: &mut Pulse<'_>, at: usize) -> Result<(), DetectorError> {
    if at.is_multiple_of(PIECE_ROWS) && pulse(None).is_break() {
        return Err(DetectorError::Ended);
    }
    Ok(())
}
