//! Going on learning beside the watch: on a schedule and on drift, with a part of one processor.
//!
//! A thread of its own reads the history that the watch keeps, updates the champion, tries the result
//! at the gate and promotes it in the registry. Whoever is champion there judges: the streams of all
//! servers go on with it between two scores. A server that the shared champion fits badly is taught the
//! same way from its own history alone, and judged by a champion of its own.

mod diary;
mod fits;
mod gauges;
mod lesson;
mod once;
mod own;
mod pacer;
mod past;
mod record;
mod settings;
mod status;
mod succession;
mod teacher;

pub use once::LearningOnce;
pub use pacer::Pacer;
pub use record::{challenger_record, gate_figures, generation_record, update_notes};
pub use settings::LearningSettings;
pub use teacher::{Learning, LearningError, LearningSite};

pub(crate) use once::learned_from;
pub(crate) use pacer::Stop;
pub(crate) use past::{NoPast, Past, Rows};
pub(crate) use status::{Ending, FitStatus, Outcome, OwnStatus};
pub(crate) use succession::Succession;
