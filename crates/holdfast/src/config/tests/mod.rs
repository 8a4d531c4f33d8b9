//! What an operator can observe of loading a configuration.

mod buckets;
mod environment;
mod invariants;
mod redis;
mod refusals;
mod stock;

use super::*;

/// The least a file must say.
const BASE: &str = "version: 0.1\nstorage: inmemory\nhttp: {addr: ':5000'}\n";

fn try_load(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Error> {
    let source = Source::File {
        path: "config.yml",
        text: text.as_bytes(),
    };
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(source, environment)
}

#[track_caller]
fn loaded(text: &str, environment: &[(&str, &str)]) -> Loaded {
    match try_load(text, environment) {
        Ok(loaded) => loaded,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn config(text: &str, environment: &[(&str, &str)]) -> Config {
    loaded(text, environment).config
}

#[track_caller]
fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    match try_load(text, environment) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn warnings(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    loaded(text, environment)
        .warnings
        .iter()
        .map(Warning::to_string)
        .collect()
}
