//! Requests that the registry itself makes.

use std::time::Duration;

use crate::error_chain::attempt;

/// Longest time to connect to another server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that follows no redirect and decodes nothing.
pub(crate) fn client() -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")));
    builder
        .build()
        .map_err(|error| attempt("cannot make requests", &error))
}
