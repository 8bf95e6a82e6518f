#![doc = include_str!("../README.md")]

mod budget;
mod calibration;
mod column;
mod creep;
mod detector;
mod drift;
mod feedback;
mod follower;
mod forecaster;
mod frozen;
mod gate;
mod headroom;
mod held_out;
mod kept;
mod kind;
mod ledger;
mod leniency;
mod manifest;
mod members;
mod method;
mod misfit;
mod normal;
mod onnx;
mod pipeline;
mod precedent;
mod pulse;
mod quiet;
mod reach;
mod reconstructed;
mod rival;
mod settling;
mod site;
mod stream;
mod trailing;
mod training;
mod update;

pub use column::Column;
pub use detector::{Detector, DetectorError, TrainingRecord};
pub use drift::Drift;
pub use feedback::{Feedback, FeedbackVerdict, UnknownVerdict};
pub use follower::{Followed, Follower};
pub use gate::{
    Gate, GateCheck, GateMargins, Injection, Trial, compare, compare_own, compare_with,
};
pub use kind::{DetectorKind, UnknownDetector};
pub use misfit::{
    BAD_MISFIT, BETTER_BY, FEWEST_SERVERS, FitHistory, GOOD_MISFIT, Middle, UPDATES_IN_A_ROW,
    middle_of_fleet, misfit,
};
pub use oddns_core as core;
pub use oddns_detect::{Diagnosis, IncidentEvent, PersistenceConfig, diagnose};
pub use oddns_features::{
    Concern, FEATURES, Feature, Fleet, FleetExtractor, extract, extract_fleet,
};
pub use oddns_model as network;
pub use oddns_model::Progress;
pub use pipeline::{Pipeline, Scored, State, Step, score_frame};
pub use pulse::Pulse;
pub use quiet::History;
pub use settling::{NewNormal, Trend};
pub use training::TrainOptions;
pub use update::{Stay, UpdateOptions, Updated};
