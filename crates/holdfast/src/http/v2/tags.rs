//! `GET /v2/<name>/tags/list`: the tags of a repository, in byte order.

use holdfast_model::RepositoryName;
use http::Response;
use serde_json::json as value;

use super::{Exchange, clamped, cut, json, link_next};
use crate::http::action::Page;
use crate::http::body::Body;
use crate::http::error::Error;
use crate::operations;

/// Entries when the client names no number: all of a usual repository, and a bound for the others.
const DEFAULT_ENTRIES: usize = 10_000;

pub(super) async fn list(
    exchange: &Exchange<'_>,
    repository: &RepositoryName,
    page: Page,
) -> Result<Response<Body>, Error> {
    let limit = page
        .limit
        .map_or(DEFAULT_ENTRIES, clamped(exchange.app.http.tag_entries));
    let operations = &exchange.app.operations;
    operations.adopted(repository).await?;
    let listed = operations
        .metadata()
        .tags(repository, page.after.as_deref(), limit + 1)
        .await;
    let mut tags = listed
        .map_err(operations::Error::from)?
        .ok_or_else(|| operations::Error::RepositoryUnknown(repository.clone()))?;
    let last = cut(&mut tags, limit);
    let mut response = json(
        "application/json",
        format!("{}\n", value!({"name": repository, "tags": tags})),
    );
    if let Some(last) = last {
        let path = format!("/v2/{repository}/tags/list");
        link_next(
            exchange,
            &mut response,
            &path,
            &[("last", &last), ("n", &limit.to_string())],
        );
    }
    Ok(response)
}
