//! `GET /v2/<name>/tags/list`: the tags of a repository, in byte order.

use holdfast_model::RepositoryName;
use http::{Response, StatusCode};
use serde_json::json as value;

use super::{Exchange, json, link_next, page_size};
use crate::http::action::Page;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::operations;

/// Entries when the client names no number: all of a usual repository, and a bound for the others.
const DEFAULT_ENTRIES: u64 = 10_000;

pub(super) async fn list(
    exchange: &Exchange,
    repository: &RepositoryName,
    page: Page,
) -> Result<Response<Body>, Error> {
    let most = if page.limit.is_some() {
        exchange.app.http.tag_entries
    } else {
        DEFAULT_ENTRIES
    };
    let size = page_size(&page, DEFAULT_ENTRIES, most);
    let listed = exchange
        .app
        .operations
        .metadata()
        .tags(repository, page.after.as_deref(), size.limit + 1)
        .await;
    let mut tags = listed
        .map_err(operations::Error::from)?
        .ok_or_else(|| operations::Error::RepositoryUnknown(repository.clone()))?;
    let more = tags.len() > size.limit && !size.none;
    tags.truncate(size.limit);
    let body = format!("{}\n", value!({"name": repository, "tags": tags}));
    let mut response = json(StatusCode::OK, "application/json", body);
    if let Some(last) = tags.last().filter(|_| more) {
        let path = format!("/v2/{repository}/tags/list");
        link_next(
            exchange,
            &mut response,
            &path,
            &[("last", last.as_str()), ("n", &size.limit.to_string())],
        );
    }
    Ok(response)
}
