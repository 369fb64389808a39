//! One integration binary: it links once.

// `cfg(test)` tells clippy that helpers are tests too, and may unwrap.
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cli_account;
#[cfg(test)]
mod cli_certificates;
#[cfg(test)]
mod console;
#[cfg(test)]
mod container;
#[cfg(test)]
mod control;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod drop_in;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod files;
#[cfg(test)]
mod guards;
#[cfg(test)]
mod host_certificates;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod install;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod keys_command;
#[cfg(test)]
mod keys_of_instances;
#[cfg(test)]
mod krl;
#[cfg(test)]
mod liar;
#[cfg(test)]
mod moving;
#[cfg(test)]
mod openssh10;
#[cfg(test)]
mod own_file;
#[cfg(test)]
mod package;
#[cfg(test)]
mod package_rented;
#[cfg(test)]
mod people;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod proof;
#[cfg(test)]
mod proof_certificates;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod recorded;
mod replicas;
#[cfg(test)]
mod revoked;
#[cfg(test)]
mod seal;
#[cfg(test)]
mod service_data;
#[cfg(test)]
mod service_limits;
#[cfg(test)]
mod service_process;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod sessions_certificates;
#[cfg(test)]
mod sessions_service;
#[cfg(test)]
mod sessions_story;
#[cfg(test)]
mod signers;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod sources_http;
#[cfg(test)]
mod stolen_laptop;
#[cfg(test)]
mod story_openssh;
#[cfg(test)]
mod story_russh;
#[cfg(test)]
mod subscription;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trust_proved;
#[cfg(test)]
mod unit;
#[cfg(test)]
mod user_certificates;
#[cfg(test)]
mod vastai;
#[cfg(test)]
mod watchdog;
