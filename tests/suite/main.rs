//! One binary: end to end through the real daemon and real plugin files; hostile inputs; what a machine can hold of the
//! project's style. `cargo build --workspace` comes first: the plugins are files that the daemon loads.

mod boundary;
mod config_file;
mod config_service;
mod daemon_plugins;
mod fixtures;
mod hostile;
mod hostile_parts;
mod keras;
mod keras_host;
mod layers_recurrent;
mod ledger_bounds;
mod ledger_jobs;
mod lineage_records;
mod onnx;
mod onnx_basic;
mod onnx_kit;
mod onnx_layers;
mod onnx_rnn;
mod passes;
mod plugins;
mod publish_bundle;
mod publish_convert;
mod publish_power;
mod readme;
mod savedmodel_target;
mod strangers;
mod tidy;
mod verify_commands;
mod verify_structural;
mod watch_crash;
mod watch_events;
mod watch_odd;
mod watch_real;
mod watch_slow;
mod worker;
