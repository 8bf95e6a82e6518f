#![doc = include_str!("../README.md")]

mod calibration;
mod column;
mod detector;
mod follower;
mod forecaster;
mod frozen;
mod held_out;
mod kind;
mod ledger;
mod manifest;
mod members;
mod method;
mod normal;
mod onnx;
mod pipeline;
mod reconstructed;
mod rival;
mod stream;
mod trailing;
mod training;

pub use column::Column;
pub use detector::{Detector, DetectorError, TrainingRecord};
pub use follower::{Followed, Follower};
pub use kind::{DetectorKind, UnknownDetector};
pub use oddns_core as core;
pub use oddns_detect::{Diagnosis, IncidentEvent, PersistenceConfig, diagnose};
pub use oddns_features::{FEATURES, Feature, Fleet, FleetExtractor, extract, extract_fleet};
pub use oddns_model as network;
pub use oddns_model::Progress;
pub use pipeline::{Pipeline, Scored, State, Step, score_frame};
pub use training::TrainOptions;
