//! Requests that the registry itself makes.

use std::time::Duration;

/// Longest time to connect to another server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that follows no redirect and decodes nothing.
pub fn client() -> Result<reqwest::Client, String> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("holdfast/", env!("CARGO_PKG_VERSION")));
    builder
        .build()
        .map_err(|error| crate::app::chain("cannot make requests", &error))
}
