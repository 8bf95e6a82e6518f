#![doc = include_str!("../README.md")]

mod config;
mod error;
mod states;
mod storage;
mod watch;

mod judged;
mod receive;
mod teller;

mod budget;
mod desk;

mod alerts;
mod feedback;
mod remote_storage;
mod words;

mod learning;

mod arrival;
mod backfill;
mod origin;

mod config_gauges;
mod event;
mod history;
mod lifecycle;
mod metrics;
mod process;
mod scoreboard;
mod shared;
mod view;

mod answer;
mod api;
mod page;
mod web;

mod guard;
mod guests;
mod gzip;
mod server;

pub use alerts::{
    Alerting, AlertingConfig, AlertmanagerConfig, AlertmanagerDiscovery, Site, WebhookConfig,
    WebhookFormat,
};
pub use arrival::{Arrival, ArrivalPlace};
pub use backfill::{Backfill, BackfillSettings, BackfillSite, BackfillTraining};
pub use budget::AlertBudget;
pub use config::{
    ClientCertificates, Config, ConfigError, DEFAULT_LISTEN_ADDRESS, DEFAULT_SCRAPE_INTERVAL,
    DEFAULT_SCRAPE_TIMEOUT, WebConfig, WebTls, check_config, check_web_config, config_table,
    review_config, with_environment,
};
pub use desk::IncidentGroup;
pub use error::ServeError;
pub use event::Event;
pub use learning::{
    Learning, LearningError, LearningOnce, LearningSettings, LearningSite, Pacer,
    challenger_record, gate_figures, generation_record, update_notes,
};
pub use lifecycle::{Order, OrderTaken};
pub use metrics::{Exposition, Metrics};
pub use origin::Origin;
pub use receive::{
    Keep, KeepError, NewReceivedJudge, ReceiverSettings, Receiving, StoreKeep, judges_of, receive,
};
pub use remote_storage::{QueueSettings, RemoteWriteConfig, RemoteWriting};
pub use server::{router, run, run_secured};
pub use shared::Shared;
pub use states::StateFolder;
pub use storage::Storage;
pub use view::{FeatureInfo, MAX_STEPS, ModelInfo, STATE_NAMES, Server, Truth, View, state_name};
pub use watch::{Judge, NewJudge, watch, watch_with};
pub use web::{WebError, WebSecurity};
pub use words::{shown_span, shown_value};
