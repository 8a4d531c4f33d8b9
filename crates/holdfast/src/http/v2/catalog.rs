//! `GET /v2/_catalog`: the repositories that hold a manifest, in byte order.

use http::Response;
use serde_json::json as value;

use super::{Exchange, clamped, cut, json, link_next};
use crate::http::action::Page;
use crate::http::body::Body;
use crate::http::error::{self, Error};
use crate::operations;

/// Entries when the client names no number. Source: Distribution.
const DEFAULT_ENTRIES: usize = 100;

pub(super) async fn list(exchange: &Exchange<'_>, page: Page) -> Result<Response<Body>, Error> {
    let most = exchange.app.http.catalog_entries;
    if let Some(asked) = page.limit.filter(|asked| *asked > most as u64) {
        return Err(error::page_too_large(asked, most as u64));
    }
    let limit = page.limit.map_or(DEFAULT_ENTRIES.min(most), clamped(most));
    let operations = &exchange.app.operations;
    operations.repositories_named().await?;
    let listed = operations
        .metadata()
        .repositories(page.after.as_deref(), limit + 1)
        .await;
    let mut names = listed.map_err(operations::Error::from)?;
    let last = cut(&mut names, limit);
    // The page goes on behind them all the same.
    names.retain(|name| exchange.app.access.names(name));
    let mut response = json(
        "application/json",
        format!("{}\n", value!({"repositories": names})),
    );
    if let Some(last) = last {
        link_next(
            exchange,
            &mut response,
            "/v2/_catalog",
            &[("last", &last), ("n", &limit.to_string())],
        );
    }
    Ok(response)
}
