#![doc = include_str!("../README.md")]

mod config;
mod error;
mod states;
mod storage;
mod watch;

mod judged;
mod receive;

mod event;
mod history;
mod metrics;
mod shared;
mod view;

mod answer;
mod api;
mod page;
mod server;

pub use config::{
    Config, ConfigError, DEFAULT_LISTEN_ADDRESS, DEFAULT_SCRAPE_INTERVAL, DEFAULT_SCRAPE_TIMEOUT,
    check_config, config_table,
};
pub use error::ServeError;
pub use event::Event;
pub use metrics::{Exposition, Metrics};
pub use receive::{
    Keep, KeepError, NewReceivedJudge, ReceiverSettings, Receiving, StoreKeep, judges_of, receive,
};
pub use server::{router, run};
pub use shared::Shared;
pub use states::StateFolder;
pub use storage::Storage;
pub use view::{FeatureInfo, MAX_STEPS, ModelInfo, STATE_NAMES, Server, Truth, View, state_name};
pub use watch::{Judge, NewJudge, watch, watch_with};
